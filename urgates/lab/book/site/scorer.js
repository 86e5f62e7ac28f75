// Sphinx's weights, and first the pages whose title has what is searched for.
var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    const query = new URLSearchParams(location.search).get("q").trim().toLowerCase();
    return score + 200 * title.toLowerCase().includes(query);
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
