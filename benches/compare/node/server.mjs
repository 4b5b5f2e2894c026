// Segment to PostHog as one would write it in Node: node:http in front, undici behind (fetch where
// undici is not installed), JSON.parse and JSON.stringify between them. The mapping is the
// reference's (docs/mapping.md). It has no repairs, limits, retries or spool.
//
//     node server.mjs PORT UPSTREAM
import { createHash } from "node:crypto";
import http from "node:http";

const [port, upstream] = process.argv.slice(2);
const API_KEY = "phc_bench";
const NAMESPACE = Buffer.from("671bc869c8ec5bcb9bb58d788bd20513", "hex");

function uuid(messageId) {
  const digest = createHash("sha1").update(NAMESPACE).update(messageId, "utf8").digest();
  digest[6] = (digest[6] & 0x0f) | 0x50;
  digest[8] = (digest[8] & 0x3f) | 0x80;
  const hex = digest.toString("hex", 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const MAPPED = [
  ["ip", undefined, "$ip"],
  ["page", "url", "$current_url"],
  ["page", "path", "$pathname"],
  ["os", "name", "$os"],
  ["page", "referrer", "$referrer"],
  ["screen", "width", "$screen_width"],
  ["screen", "height", "$screen_height"],
  ["device", "type", "$device_type"],
];

function contextProperties(context) {
  const properties = {};
  if (context.groupId) properties.$groups = { segment_group: context.groupId };
  if (context.campaign) {
    for (const key in context.campaign) {
      properties[key === "name" ? "utm_campaign" : `utm_${key}`] = context.campaign[key];
    }
  }
  for (const [first, second, name] of MAPPED) {
    const value = second === undefined ? context[first] : context[first]?.[second];
    if (value !== undefined) properties[name] = value;
  }
  for (const key in context) {
    if (key !== "campaign" || !context.campaign) properties[`segment_${key}`] = context[key];
  }
  return properties;
}

function call(message) {
  const { type, properties, traits } = message;
  switch (type) {
    case "track":
      return [message.event, { ...properties }];
    case "page":
      return [message.event === undefined ? "$pageview" : message.event, { ...properties }];
    case "screen":
      return ["$screen", { ...properties, $screen_name: message.name }];
    case "identify": {
      const own = { ...properties, $set: traits };
      if (message.userId && message.anonymousId) own.$anon_distinct_id = message.anonymousId;
      return [message.userId ? "$identify" : "$set", own];
    }
    case "group":
      return [
        "$groupidentify",
        { $geoip_disable: true, $group_type: "segment_group", $group_key: message.groupId, $group_set: traits },
      ];
    case "alias":
      return ["$create_alias", { alias: message.previousId }];
    default:
      return undefined;
  }
}

function map(message, batch, ip, now) {
  if (message.integrations?.PostHog === false) return undefined;
  const found = call(message);
  if (!found) return undefined;
  const [event, own] = found;
  let context = batch.context ? { ...batch.context, ...message.context } : message.context ?? {};
  // A server's address is not where its events happen.
  if (context.ip === undefined && context.library?.name === "analytics.js") context = { ...context, ip };
  if (own.url) {
    own.$current_url = own.url;
    delete own.url;
  }
  if (own.utm_name) own.utm_campaign = own.utm_name;
  if (own.browser) own.$browser = own.browser;
  if (context.groupId) own.$groups = { segment_group: context.groupId };
  const properties = Object.assign(contextProperties(context), own);
  const distinctId = message.userId || message.anonymousId;
  properties.distinct_id = distinctId;
  properties.$lib = "Segment";
  let timestamp = message.timestamp;
  const sentAt = Date.parse(message.sentAt ?? batch.sentAt);
  const original = Date.parse(timestamp);
  if (Number.isNaN(original)) timestamp = new Date(now).toISOString();
  else if (!Number.isNaN(sentAt)) timestamp = new Date(now - (sentAt - original)).toISOString();
  return { uuid: uuid(message.messageId), event, timestamp, properties };
}

const KINDS = {
  t: "track", track: "track", p: "page", page: "page", i: "identify", identify: "identify",
  g: "group", group: "group", a: "alias", alias: "alias", s: "screen", screen: "screen",
};

function convert(path, text, ip) {
  const now = Date.now();
  const body = JSON.parse(text);
  const last = path.slice(path.lastIndexOf("/") + 1);
  const batch = [];
  if (Array.isArray(body.batch)) {
    for (const message of body.batch) {
      const event = map(message, body, ip, now);
      if (event) batch.push(event);
    }
  } else {
    body.type = KINDS[last] ?? body.type;
    const event = map(body, {}, ip, now);
    if (event) batch.push(event);
  }
  return JSON.stringify({ api_key: API_KEY, batch });
}

async function sender() {
  const headers = { "content-type": "application/json" };
  const undici = await import("undici").catch(() => undefined);
  if (undici) {
    const pool = new undici.Pool(upstream, { connections: 64, pipelining: 1 });
    return async (body) => {
      const answer = await pool.request({ path: "/batch/", method: "POST", headers, body });
      await answer.body.dump();
      return answer.statusCode;
    };
  }
  return async (body) => {
    const answer = await fetch(`${upstream}/batch/`, { method: "POST", headers, body });
    await answer.arrayBuffer();
    return answer.status;
  };
}

const send = await sender();
const YES = Buffer.from('{"success":true}');
const yes = { "content-type": "application/json", "content-length": YES.length };
const no = { "content-type": "application/json", "content-length": 0, "retry-after": 1 };

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    try {
      const text = chunks.length === 1 ? chunks[0].toString() : Buffer.concat(chunks).toString();
      const status = await send(convert(request.url, text, request.socket.remoteAddress));
      if (status === 200) response.writeHead(200, yes).end(YES);
      else response.writeHead(503, no).end();
    } catch (error) {
      response.writeHead(503, no).end();
    }
  });
});
server.keepAliveTimeout = 600_000;
server.listen(Number(port), "127.0.0.1");
