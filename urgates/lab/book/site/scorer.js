// Sphinx's weights, and first the pages whose title has every word that is searched for.
var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    const words = new URLSearchParams(location.search).get("q").toLowerCase().split(/\s+/);
    return score + 50 * words.every((word) => title.toLowerCase().includes(word));
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
