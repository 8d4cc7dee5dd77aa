// Sphinx's scores, with the order that readers expect: first a heading that is what was typed, then pages that tell what to
// do, then those of background and history.
var Scorer = {
  score: ([docname, , , , score, , kind]) => {
    if (kind === "title" && score >= Scorer.title) return score + 10;
    return /^(architecture|benchmarks|changelog|dependencies|scale|testing)$/.test(docname) ? score / 4 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
