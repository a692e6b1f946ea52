// A receiver of clopos-relay's webhooks. Node 18 or later, nothing to install; put your own work into `handle`.
//
//     WEBHOOK_SECRET=whsec_… node receiver.mjs
//
// Several secrets, separated by spaces, all count. With RELAY_URL, RELAY_TOKEN and SUBSCRIPTION set, what was missed is
// pulled. A subscription with signature v1a has a public key, whpk_…, in place of the secret.

import { createHmac, randomUUID, timingSafeEqual, verify } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const PORT = Number(process.env.PORT ?? 9000);
const KEYS = (process.env.WEBHOOK_SECRET ?? "").trim().split(/\s+/);
if (!KEYS.every((key) => /^(whsec_[\w+/=]{32,}|whpk_[\w+/=]{43,})$/.test(key))) {
  console.error("set WEBHOOK_SECRET to the subscription's secret (whsec_…), or to its public key (whpk_…)");
  process.exit(1);
}
const { RELAY_URL, RELAY_TOKEN, SUBSCRIPTION } = process.env;
const PULL_FROM = RELAY_TOKEN && `${RELAY_URL}/v1/subscriptions/${SUBSCRIPTION}/events`;
const PULL_EVERY_MS = 300_000;
const FORGET_AFTER_MS = 30 * 86_400_000; // longer than the relay keeps events: it sends none again after that
const TOLERANCE_S = 300;
const LARGEST_BYTES = 16 * 1024 * 1024;

const FOLDER = process.env.FOLDER ?? "webhooks";
const WAITING = path.join(FOLDER, "waiting");
const DONE = path.join(FOLDER, "done");
const STATE = path.join(FOLDER, "state.json");
for (const folder of [WAITING, DONE]) fs.mkdirSync(folder, { recursive: true });
const state = fs.existsSync(STATE) ? JSON.parse(fs.readFileSync(STATE)) : { sequences: {}, cursor: null };

// Do what is yours to do. Must do no harm when it runs twice: a crash may come between it and its note.
async function handle(event) {
  console.log("took", event.type, event.id);
}

// ---- is it the relay's? ----

// Say why a request does not count; undefined if it was signed with one of our keys, lately.
function whyRefused(headers, body) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`] ?? "");
  if (!/^\w{1,100}$/.test(id) || !/^[0-9]{1,12}$/.test(timestamp)) return "headers";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return "timestamp";
  const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  for (const signature of signatures.split(" ")) { // while a secret is rotated there are two
    const [version, encoded = ""] = signature.split(",");
    const given = Buffer.from(encoded, "base64");
    if (KEYS.some((key) => signed(key, version, given, content))) return undefined;
  }
  return "signature: is WEBHOOK_SECRET this subscription's?";
}

// Say whether this signature is this key's.
function signed(key, version, given, content) {
  const [kind, encoded] = key.split("_");
  const raw = Buffer.from(encoded, "base64");
  if (kind === "whsec" && version === "v1" && raw.length >= 24) {
    const expected = createHmac("sha256", raw).update(content).digest();
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
  if (kind === "whpk" && version === "v1a") {
    const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]); // an ed25519 key, RFC 8410
    return verify(null, content, { key: der, format: "der", type: "spki" }, given);
  }
  return false;
}

// ---- keep it before you answer: two folders stand in for a table with a unique column ----

// Put an event on the disk; false if it came before.
function keep(id, body) {
  if (fs.existsSync(path.join(DONE, id))) return false;
  const name = path.join(FOLDER, randomUUID());
  const file = fs.openSync(name, "wx");
  try {
    fs.writeFileSync(file, body);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
  try {
    fs.linkSync(name, path.join(WAITING, id)); // fails where it exists: of two requests at once, one is first
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    return false;
  } finally {
    fs.unlinkSync(name);
  }
  return true;
}

// Verify, keep, answer; the work is done elsewhere, so that the relay never waits for it.
const server = http.createServer(async (request, response) => {
  const chunks = [];
  let length = 0;
  try {
    for await (const chunk of request) {
      length += chunk.length;
      if (length > LARGEST_BYTES) return response.writeHead(413, { connection: "close" }).end();
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    const refused = whyRefused(request.headers, body);
    if (refused) {
      console.log("refused", refused);
      return response.writeHead(401).end();
    }
    const id = request.headers["webhook-id"];
    const isNew = keep(id, body);
    response.writeHead(204).end();
    if (isNew) takeWhatWaits();
    else console.log("again", id);
  } catch (error) {
    console.error(error); // a full disk, say: the relay comes again
    if (!response.headersSent) response.writeHead(500).end();
  }
});

// ---- take what waits, each subject's events in order ----

// Take everything that waits. Where an event is missing before one, pull first, once.
async function work() {
  let mayPull = Boolean(PULL_FROM);
  for (;;) {
    const waiting = fs.readdirSync(WAITING).map((id) => JSON.parse(fs.readFileSync(path.join(WAITING, id))));
    if (!waiting.length) return;
    waiting.sort((one, other) => one.sequence - other.sequence);
    for (const event of waiting) {
      const subject = `${event.brand}/${event.venue_id}/${event.subject}`;
      const last = state.sequences[subject];
      const isNewer = last === undefined || event.sequence > last;
      if (isNewer && last !== undefined && event.previous_sequence !== last) {
        console.log("gap before", event.id);
        if (mayPull) {
          mayPull = false;
          await pull();
          break; // and begin again, with what came
        }
      }
      if (isNewer) {
        await handle(event);
        state.sequences[subject] = event.sequence;
        save();
      } else {
        console.log("older", event.type, event.id); // you have a later state of it already
      }
      fs.renameSync(path.join(WAITING, event.id), path.join(DONE, event.id));
    }
  }
}

// Fetch what the relay has for this subscription since the last time; what came by push is dropped by its id.
async function pull() {
  while (PULL_FROM) {
    const cursor = state.cursor ? `&cursor=${state.cursor}` : "";
    const headers = { authorization: `Bearer ${RELAY_TOKEN}` };
    let page;
    try {
      const answer = await fetch(`${PULL_FROM}?limit=200${cursor}`, { headers, signal: AbortSignal.timeout(30_000) });
      if (answer.status === 400 && cursor) {
        state.cursor = null; // older than what the relay keeps: from the start of that
        continue;
      }
      if (!answer.ok) throw new Error(`the relay says ${answer.status}`);
      page = await answer.json();
    } catch (error) {
      console.log("cannot pull:", error.message);
      return;
    }
    for (const event of page.data) if (keep(event.id, JSON.stringify(event))) console.log("pulled", event.id);
    state.cursor = page.next_cursor;
    save();
    if (!page.data.length) return;
  }
}

// Note how far we are: whole or not at all.
function save() {
  fs.writeFileSync(`${STATE}.new`, JSON.stringify(state));
  fs.renameSync(`${STATE}.new`, STATE);
}

// Let go of events that cannot come again.
function forget() {
  for (const name of fs.readdirSync(DONE).map((id) => path.join(DONE, id))) {
    if (Date.now() - fs.statSync(name).mtimeMs > FORGET_AFTER_MS) fs.unlinkSync(name);
  }
}

// One at a time; what fails still waits, and is tried again.
let working = Promise.resolve();
function takeWhatWaits() {
  working = working.then(work).catch(console.error);
}

function lookForMissed() {
  working = working.then(pull).then(forget).then(work).catch(console.error);
}

lookForMissed(); // what was missed while we were down
setInterval(lookForMissed, PULL_EVERY_MS); // and what never came
server.listen(PORT, "127.0.0.1", () => console.log("listening on", server.address().port));
