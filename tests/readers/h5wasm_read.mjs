// Reads datasets and attributes with h5wasm for tests/readers/h5wasm_reader.py, which starts one process
// for many reads. argv[2] is the folder of the package. One request a line on stdin, one answer a line
// on stdout, both JSON; the values of a dataset go to a file as this (little-endian) machine holds them.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const h5wasm = await import(pathToFileURL(join(folder, "dist", "node", "hdf5_hl.js")).href);
const library = await h5wasm.ready;
const { version } = createRequire(import.meta.url)(join(folder, "package.json"));
library.activate_throwing_error_handler();

function readDataset(file, { dataset, out }) {
  if (library.get_type(file.file_id, dataset) !== library.H5G_DATASET) throw new Error(`no dataset ${dataset}`);
  const metadata = library.get_dataset_metadata(file.file_id, dataset);
  const nbytes = metadata.size * metadata.total_size;
  const pointer = library._malloc(Math.max(1, nbytes));
  if (!pointer) throw new Error(`no memory for ${nbytes} bytes`);
  try {
    if (nbytes && metadata.shape) {
      library.get_dataset_data(file.file_id, dataset, null, null, null, BigInt(pointer));
    }
    writeFileSync(out, library.HEAPU8.subarray(pointer, pointer + nbytes));
  } finally {
    library._free(pointer);
  }
  return { metadata };
}

function readAttributes(file, { object }) {
  const found = {};
  for (const name of library.get_attribute_names(file.file_id, object)) {
    const attribute = new h5wasm.Attribute(file.file_id, object, name);
    found[name] = { metadata: attribute.metadata, value: attribute.value };
  }
  return { attributes: found };
}

function answer(request) {
  if (request.path === undefined) return { version };
  const file = new h5wasm.File(request.path, "r");
  try {
    return request.dataset === undefined ? readAttributes(file, request) : readDataset(file, request);
  } finally {
    file.close();
  }
}

function plain(_, value) {
  if (typeof value === "bigint") return value.toString();
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = answer(JSON.parse(line));
  } catch (error) {
    reply = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(reply, plain) + "\n");
}
