"""The handles that users write with: a file and its groups, datasets, named datatypes and attributes.

file: `File`, its options and its end. group: `Group` and `Datatype`. dataset: `Dataset`. attributes: `Attributes`, and
what all handles share. session: one write, with its engine, threads and states. dataset_writer: from blocks to the
file. dataset_plan: arguments to the plan of a dataset. given_data: checks of data and regions. file_plan: all
objects of a file, as values. destination: opens a destination. existing_file: reads a file to which objects are added.
"""
