// Claim: the page's memory of a chat has every message once and in order, whatever overlaps, and marks what is missing.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatHistory, DIVIDER, KEEP_MAX, OWN, read } from "../../crates/corecast/src/admin/demo/history.js";
import { backoffMs, mayReconnect } from "../../crates/corecast/src/admin/demo/protocol.js";

const publication = (offset, data = {}) => ({
  offset,
  data: { id: `m${offset}`, from: "them", name: "Them", text: `message ${offset}`, at: 1_000 * offset, ...data },
});
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => publication(first + index));
const fresh = (epoch, offset) => ({ recovering: false, recovered: false, epoch, offset, publications: [] });
const lost = (epoch, offset) => ({ recovering: true, recovered: false, epoch, offset, publications: [] });
const offsets = (history) => history.items().map((item) => item.offset ?? item.reason ?? item.id);

function joined(epoch, offset) {
  const history = new ChatHistory("me");
  history.joined(fresh(epoch, offset));
  return history;
}

test("live messages, recovery and pages of history overlap in any order", () => {
  const history = joined("e", 5);
  history.add(publication(6));
  history.addOlder(range(4, 6).reverse());
  history.add(publication(7));
  history.add(publication(7));
  const again = { recovering: true, recovered: true, epoch: "e", offset: 9, publications: range(7, 9) };
  assert.equal(history.joined(again), false);
  history.addOlder(range(1, 5).reverse());
  assert.deepEqual(offsets(history), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(history.olderThan, 0);
  assert.ok(history.startsAtBeginning);
});

test("an empty chat has nothing older; one with a past has", () => {
  assert.equal(joined("e", 0).olderThan, 0);
  const history = joined("e", 5);
  assert.equal(history.olderThan, 6);
  history.addOlder([]);
  assert.equal(history.olderThan, 0);
});

test("another epoch is a reset, marked by a divider, unless nothing was there before", () => {
  const history = joined("e1", 0);
  assert.equal(history.joined(lost("e2", 0)), false);
  assert.deepEqual(history.items(), []);
  history.add(publication(1));
  assert.equal(history.joined(lost("e3", 4)), true);
  history.addOlder(range(3, 4).reverse().map((one) => ({ ...one, data: { ...one.data, id: `new${one.offset}` } })));
  assert.deepEqual(offsets(history), [1, DIVIDER.RESET, 3, 4]);
});

test("a gap is closed by pages of history, or says how many messages are missing", () => {
  const history = joined("e", 2);
  history.addOlder(range(1, 2).reverse());
  assert.equal(history.joined(lost("e", 10)), true);
  history.addOlder(range(8, 10).reverse());
  assert.deepEqual(offsets(history), [1, 2, DIVIDER.GAP, 8, 9, 10]);
  assert.equal(history.items()[2].missed, 5);
  assert.equal(history.olderThan, 8);
  history.add(publication(11));
  history.addOlder(range(1, 7).reverse());
  assert.deepEqual(offsets(history), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);

  assert.equal(history.joined(lost("e", 20)), true);
  history.addOlder(range(18, 20).reverse());
  history.addOlder([]);
  const divider = history.items().find((item) => item.kind === "divider");
  assert.deepEqual([divider.missed, divider.exhausted], [6, true]);
  assert.equal(history.hasGap, false);
});

test("an own message is one item from writing to its offset, also when it was sent twice", () => {
  const history = joined("e", 0);
  history.write({ id: "own", text: "hi", name: "Me", at: 1, state: OWN.SENDING });
  const [{ key }] = history.items();
  history.mark("own", OWN.ACCEPTED);
  const mine = { id: "own", from: "me", name: "Me", text: "hi" };
  assert.ok(history.add(publication(1, mine)).own);
  assert.equal(history.add(publication(2, mine)), null, "a retry is shown again");
  history.add(publication(3));
  assert.deepEqual(offsets(history), [1, 3]);
  assert.equal(history.items()[0].key, key);
  // Somebody else cannot confirm what is still on its way.
  history.write({ id: "other", text: "mine", name: "Me", at: 1, state: OWN.SENDING });
  history.add(publication(4, { id: "other", text: "theirs" }));
  assert.equal(history.own(OWN.SENDING).length, 1);
});

test("memory is bounded, and what was dropped can be fetched again", () => {
  const history = joined("e", 0);
  for (const one of range(1, KEEP_MAX + 50)) history.add(one);
  history.trim();
  assert.equal(history.items().length, KEEP_MAX);
  assert.equal(history.olderThan, 51);
  history.joined(lost("e2", 1));
  for (const one of range(1, KEEP_MAX)) history.add({ ...one, data: { ...one.data, id: `b${one.offset}` } });
  history.trim();
  assert.deepEqual(offsets(history), range(1, KEEP_MAX).map((one) => one.offset));
});

test("a payload that is no message is shown as the JSON that it is", () => {
  for (const [data, text] of [[null, "null"], [5, "5"], ["x", '"x"'], [{ text: 5 }, '{"text":5}'], [[], "[]"]]) {
    assert.deepEqual(read(data, "me"), { id: null, from: null, own: false, name: null, text, at: null });
  }
  const odd = read({ text: "t", name: {}, from: 5, id: "", at: 1e300 }, "me");
  assert.deepEqual(odd, { id: null, from: null, own: false, name: null, text: "t", at: null });
});

test("codes and back-off follow the protocol", () => {
  for (const code of [1000, 1001, 1006, 1012, 3000, 3001, 3499, 4000, 4499]) assert.ok(mayReconnect(code), code);
  for (const code of [1009, 3500, 3999, 4500, 4999, 5000]) assert.ok(!mayReconnect(code), code);
  assert.ok(backoffMs(0, 1) <= 450 && backoffMs(0, 0) > 0);
  assert.ok(backoffMs(50, 1) <= 8_150);
});
