-- Segment to PostHog as one would write it for nginx: cjson and LuaJIT. The mapping is the
-- reference's (docs/mapping.md). It has no repairs, limits, retries or spool.
local cjson = require "cjson"
local bit = require "bit"

cjson.encode_number_precision(14)
cjson.encode_keep_buffer(true)

local null = cjson.null
local band, bor = bit.band, bit.bor
local byte, char, match = string.byte, string.char, string.match
local floor = math.floor
local format = string.format

local API_KEY = "phc_bench"
local NAMESPACE = ("671bc869c8ec5bcb9bb58d788bd20513"):gsub("%x%x", function(pair)
  return char(tonumber(pair, 16))
end)

local HEX = {}
for value = 0, 255 do
  HEX[value] = format("%02x", value)
end

local function uuid(message_id)
  local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p = byte(ngx.sha1_bin(NAMESPACE .. message_id), 1, 16)
  g = bor(band(g, 0x0f), 0x50)
  i = bor(band(i, 0x3f), 0x80)
  return HEX[a] .. HEX[b] .. HEX[c] .. HEX[d] .. "-" .. HEX[e] .. HEX[f] .. "-" .. HEX[g] .. HEX[h] .. "-"
    .. HEX[i] .. HEX[j] .. "-" .. HEX[k] .. HEX[l] .. HEX[m] .. HEX[n] .. HEX[o] .. HEX[p]
end

-- Days since 1970 of a date, and back (Howard Hinnant's formulas).
local function days(year, month, day)
  if month <= 2 then
    year = year - 1
  end
  local era = floor(year / 400)
  local yoe = year - era * 400
  local doy = floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + doy - 719468
end

local function date(count)
  count = count + 719468
  local era = floor(count / 146097)
  local doe = count - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - floor((153 * mp + 2) / 5) + 1
end

-- Milliseconds since 1970 of a time with Z or an offset.
local function millis(text)
  if type(text) ~= "string" then
    return nil
  end
  local year, month, day, hour, minute, second, fraction, zone =
    match(text, "^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d):(%d%d)%.?(%d*)(.*)$")
  if not year then
    return nil
  end
  local offset = 0
  if zone ~= "Z" and zone ~= "" then
    local sign, hours, minutes = match(zone, "^([+-])(%d%d):?(%d%d)$")
    if not sign then
      return nil
    end
    offset = (hours * 60 + minutes) * (sign == "+" and 1 or -1)
  end
  local milli = #fraction == 3 and fraction + 0 or floor(("0." .. fraction .. "0") * 1000)
  return ((days(year + 0, month + 0, day + 0) * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + milli
end

local function iso(time)
  local seconds = floor(time / 1000)
  local count = floor(seconds / 86400)
  local rest = seconds - count * 86400
  local year, month, day = date(count)
  return format("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day, floor(rest / 3600),
    floor(rest / 60) % 60, rest % 60, time - seconds * 1000)
end

local function truthy(value)
  return value and value ~= null and value ~= "" and value ~= 0
end

local function part(context, first, second)
  local inner = context[first]
  if type(inner) == "table" then
    return inner[second]
  end
end

local function add_context(out, context)
  if truthy(context.groupId) then
    out["$groups"] = { segment_group = context.groupId }
  end
  local campaign = context.campaign
  local apart = truthy(campaign)
  if apart and type(campaign) == "table" then
    for key, value in pairs(campaign) do
      out[key == "name" and "utm_campaign" or "utm_" .. key] = value
    end
  end
  out["$ip"] = context.ip
  out["$current_url"] = part(context, "page", "url")
  out["$pathname"] = part(context, "page", "path")
  out["$os"] = part(context, "os", "name")
  out["$referrer"] = part(context, "page", "referrer")
  out["$screen_width"] = part(context, "screen", "width")
  out["$screen_height"] = part(context, "screen", "height")
  out["$device_type"] = part(context, "device", "type")
  for key, value in pairs(context) do
    if key ~= "campaign" or not apart then
      out["segment_" .. key] = value
    end
  end
end

local function add_own(out, own)
  if type(own) == "table" then
    for key, value in pairs(own) do
      out[key] = value
    end
    if truthy(own.url) then
      out["$current_url"] = own.url
      out.url = nil
    end
    if truthy(own.utm_name) then
      out.utm_campaign = own.utm_name
    end
    if truthy(own.browser) then
      out["$browser"] = own.browser
    end
  end
end

-- What each call adds, and the event's name.
local CALLS = {
  track = function(message, out)
    add_own(out, message.properties)
    return message.event
  end,
  page = function(message, out)
    add_own(out, message.properties)
    if message.event == nil then
      return "$pageview"
    end
    return message.event
  end,
  screen = function(message, out)
    add_own(out, message.properties)
    out["$screen_name"] = message.name
    return "$screen"
  end,
  identify = function(message, out)
    add_own(out, message.properties)
    out["$set"] = message.traits
    local user = truthy(message.userId)
    if user and truthy(message.anonymousId) then
      out["$anon_distinct_id"] = message.anonymousId
    end
    return user and "$identify" or "$set"
  end,
  group = function(message, out)
    out["$geoip_disable"] = true
    out["$group_type"] = "segment_group"
    out["$group_key"] = message.groupId
    out["$group_set"] = message.traits
    return "$groupidentify"
  end,
  alias = function(message, out)
    out.alias = message.previousId
    return "$create_alias"
  end,
}

local function map(message, kind, batch, ip, now)
  local integrations = message.integrations
  if type(integrations) == "table" and integrations.PostHog == false then
    return nil
  end
  local call = CALLS[kind]
  if not call then
    return nil
  end
  local context = message.context
  if type(context) ~= "table" then
    context = {}
  end
  if type(batch.context) == "table" then
    for key, value in pairs(batch.context) do
      if context[key] == nil then
        context[key] = value
      end
    end
  end
  -- A server's calls are not made from where its events happen.
  if context.ip == nil and part(context, "library", "name") == "analytics.js" then
    context.ip = ip
  end
  local properties = {}
  add_context(properties, context)
  local event = call(message, properties)
  if truthy(context.groupId) then
    properties["$groups"] = { segment_group = context.groupId }
  end
  properties.distinct_id = truthy(message.userId) and message.userId or message.anonymousId
  properties["$lib"] = "Segment"
  local timestamp = message.timestamp
  local original, sent_at = millis(timestamp), millis(message.sentAt or batch.sentAt)
  if not original then
    timestamp = iso(now)
  elseif sent_at then
    timestamp = iso(now - (sent_at - original))
  end
  return { uuid = uuid(message.messageId), event = event, timestamp = timestamp, properties = properties }
end

local KINDS = {
  t = "track", track = "track", p = "page", page = "page", i = "identify", identify = "identify",
  g = "group", group = "group", a = "alias", alias = "alias", s = "screen", screen = "screen",
}

local function convert()
  ngx.req.read_body()
  local now = floor(ngx.now() * 1000)
  local ip = ngx.var.remote_addr
  local body = cjson.decode(ngx.req.get_body_data())
  local events = {}
  if type(body.batch) == "table" then
    for _, message in ipairs(body.batch) do
      local event = map(message, message.type, body, ip, now)
      if event then
        events[#events + 1] = event
      end
    end
  else
    local kind = KINDS[match(ngx.var.uri, "[^/]*$")] or body.type
    events[1] = map(body, kind, {}, ip, now)
  end
  ngx.req.set_body_data(cjson.encode({ api_key = API_KEY, batch = events }))
  ngx.req.set_header("Content-Type", "application/json")
end

return convert
