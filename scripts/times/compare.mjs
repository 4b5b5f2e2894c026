// Prints how Segment's own time reader (npm new-date, which its destinations use) reads times as
// clients write them:
//
//   cd scripts/times && npm install
//   TZ=UTC node compare.mjs > ../../tests/data/times.tsv
//
// One line for each: the form, the time as JSON, and Segment's milliseconds since 1970 (`-` if it
// reads none). The test in crates/hedgerow-rewrite/src/rewrite/time/difference.rs compares
// Hedgerow's reader with it.
import newDate from 'new-date'

const MOMENTS = [
  '2023-11-14T22:13:20.123Z',
  '2024-02-29T23:59:59.999Z',
  '2026-11-20T09:15:30.250Z',
  '2001-09-09T01:46:40.000Z',
  '2016-12-31T12:00:00.700Z',
  '2030-01-01T00:00:00.000Z',
  '2025-03-30T01:30:00.500Z',
  '2022-07-04T12:05:09.007Z',
  '1999-12-31T13:00:00.001Z',
  '2011-10-02T03:04:05.678Z',
].map((text) => new Date(text))

const ZONES = [
  'UTC', 'Europe/Berlin', 'Europe/London', 'Europe/Moscow', 'America/New_York', 'America/Los_Angeles',
  'America/Sao_Paulo', 'America/St_Johns', 'Asia/Kolkata', 'Asia/Kathmandu', 'Asia/Shanghai', 'Asia/Tokyo',
  'Australia/Adelaide', 'Pacific/Auckland', 'Pacific/Kiritimati', 'Africa/Lagos',
]
const LANGUAGES = ['en', 'de', 'fr', 'es', 'pt', 'it', 'nl', 'pl', 'ru', 'uk', 'el', 'tr', 'ar', 'he', 'hi', 'th', 'zh', 'ja', 'ko', 'vi', 'sw']
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']

const two = (number) => String(number).padStart(2, '0')

// The parts of a moment on a clock so many minutes east of Greenwich.
function parts(moment, offset = 0) {
  const there = new Date(moment.getTime() + offset * 60000)
  const size = Math.abs(offset)
  const hour = there.getUTCHours()
  return {
    Y: String(there.getUTCFullYear()),
    y: two(there.getUTCFullYear() % 100),
    M: two(there.getUTCMonth() + 1),
    m: there.getUTCMonth() + 1,
    D: two(there.getUTCDate()),
    d: there.getUTCDate(),
    h: two(hour),
    H: hour,
    i: two(there.getUTCMinutes()),
    s: two(there.getUTCSeconds()),
    f: String(there.getUTCMilliseconds()).padStart(3, '0'),
    k: hour % 12 || 12,
    half: hour < 12 ? 'AM' : 'PM',
    month: MONTHS[there.getUTCMonth()],
    mon: MONTHS[there.getUTCMonth()].slice(0, 3),
    day: DAYS[there.getUTCDay()],
    www: DAYS[there.getUTCDay()].slice(0, 3),
    z: (offset < 0 ? '-' : '+') + two(Math.floor(size / 60)) + two(size % 60),
    Z: (offset < 0 ? '-' : '+') + two(Math.floor(size / 60)) + ':' + two(size % 60),
    hours: (offset < 0 ? '-' : '+') + two(Math.floor(size / 60)),
  }
}

// Many forms of `date` and `time`, each for every moment. The second column selects the zones:
// none, one of whole hours, or all.
const FORMS = {
  'iso zoneless': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}`,
  'iso zoneless seconds': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}`,
  'iso zoneless minutes': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}`,
  'iso minutes z': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}Z`,
  'iso z': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}Z`,
  'iso small letters': (p) => `${p.Y}-${p.M}-${p.D}t${p.h}:${p.i}:${p.s}.${p.f}z`,
  'iso seconds z': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}Z`,
  'iso one decimal': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f[0]}Z`,
  'iso micros': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}456Z`,
  'iso nanos': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}456789Z`,
  'iso comma': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s},${p.f}Z`,
  'iso comma zoneless': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s},${p.f}`,
  'iso space': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}`,
  'iso space millis': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}`,
  'iso space minutes': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}`,
  'iso space z': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}Z`,
  'iso space UTC': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} UTC`,
  'iso space micros UTC': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456 UTC`,
  'iso space GMT': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} GMT`,
  'iso T and UTC': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}UTC`,
  'iso T and space UTC': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s} UTC`,
  'iso T and space Z': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s} Z`,
  'iso bracketed UTC': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}Z[UTC]`,
  'iso surrounded': (p) => ` ${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}Z\n`,
  'iso long year': (p) => `+00${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}Z`,
  'iso loose digits': (p) => `${p.Y}-${p.m}-${p.d} ${p.H}:${p.i}:${p.s}`,
  'analytics-swift': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}:Z`,
  'basic z': (p) => `${p.Y}${p.M}${p.D}T${p.h}${p.i}${p.s}Z`,
  'basic millis': (p) => `${p.Y}${p.M}${p.D}T${p.h}${p.i}${p.s}.${p.f}Z`,
  'basic minutes': (p) => `${p.Y}${p.M}${p.D}T${p.h}${p.i}Z`,
  'basic zoneless': (p) => `${p.Y}${p.M}${p.D}T${p.h}${p.i}${p.s}`,
  'basic space': (p) => `${p.Y}${p.M}${p.D} ${p.h}${p.i}${p.s}`,
  'basic date with time': (p) => `${p.Y}${p.M}${p.D} ${p.h}:${p.i}:${p.s}`,
  'digits to the second': (p) => `${p.Y}${p.M}${p.D}${p.h}${p.i}${p.s}`,
  'digits to the minute': (p) => `${p.Y}${p.M}${p.D}${p.h}${p.i}`,
  'digits to the millisecond': (p) => `${p.Y}${p.M}${p.D}${p.h}${p.i}${p.s}${p.f}`,
  'date': (p) => `${p.Y}-${p.M}-${p.D}`,
  'date basic': (p) => `${p.Y}${p.M}${p.D}`,
  'date slashes': (p) => `${p.Y}/${p.M}/${p.D}`,
  'date z': (p) => `${p.Y}-${p.M}-${p.D}Z`,
  'year and month': (p) => `${p.Y}-${p.M}`,
  'year and month basic': (p) => `${p.Y}${p.M}`,
  'year': (p) => p.Y,
  'slashes': (p) => `${p.Y}/${p.M}/${p.D} ${p.h}:${p.i}:${p.s}`,
  'slashes millis': (p) => `${p.Y}/${p.M}/${p.D} ${p.h}:${p.i}:${p.s}.${p.f}`,
  'slashes UTC': (p) => `${p.Y}/${p.M}/${p.D} ${p.h}:${p.i}:${p.s} UTC`,
  'american': (p) => `${p.M}/${p.D}/${p.Y} ${p.h}:${p.i}:${p.s}`,
  'american minutes': (p) => `${p.M}/${p.D}/${p.Y} ${p.h}:${p.i}`,
  'american date': (p) => `${p.M}/${p.D}/${p.Y}`,
  'american short': (p) => `${p.m}/${p.d}/${p.y}`,
  'american hyphens': (p) => `${p.M}-${p.D}-${p.Y}`,
  'american hyphens time': (p) => `${p.M}-${p.D}-${p.Y} ${p.h}:${p.i}:${p.s}`,
  'american 12 hours': (p) => `${p.m}/${p.d}/${p.Y} ${p.k}:${p.i}:${p.s} ${p.half}`,
  'american 12 hours comma': (p) => `${p.m}/${p.d}/${p.Y}, ${p.k}:${p.i}:${p.s} ${p.half}`,
  'american 12 hours narrow space': (p) => `${p.m}/${p.d}/${p.Y}, ${p.k}:${p.i}:${p.s}\u202f${p.half}`,
  'american 12 hours minutes': (p) => `${p.M}/${p.D}/${p.Y} ${two(p.k)}:${p.i} ${p.half}`,
  'american 12 hours tight': (p) => `${p.m}/${p.d}/${p.Y} ${p.k}:${p.i}:${p.s}${p.half.toLowerCase()}`,
  'american 12 hours points': (p) => `${p.m}/${p.d}/${p.Y} ${p.k}:${p.i}:${p.s} ${p.half[0].toLowerCase()}.m.`,
  'iso date 12 hours': (p) => `${p.Y}-${p.M}-${p.D} ${p.k}:${p.i}:${p.s} ${p.half}`,
  'iso date 12 hours narrow space': (p) => `${p.Y}-${p.M}-${p.D}, ${p.k}:${p.i}:${p.s}\u202f${p.half.toLowerCase().replace('m', '.m.')}`,
  'day first slashes': (p) => `${p.D}/${p.M}/${p.Y} ${p.h}:${p.i}:${p.s}`,
  'day first dots': (p) => `${p.D}.${p.M}.${p.Y} ${p.h}:${p.i}:${p.s}`,
  'day first dots date': (p) => `${p.d}.${p.m}.${p.Y}`,
  'day first hyphens': (p) => `${p.D}-${p.M}-${p.Y}`,
  'rfc 1123': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} GMT`,
  'rfc 1123 UTC': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} UTC`,
  'rfc 1123 Z': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} Z`,
  'rfc 1123 no day': (p) => `${p.d} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} GMT`,
  'rfc 822 two digits': (p) => `${p.www}, ${p.D} ${p.mon} ${p.y} ${p.h}:${p.i}:${p.s} GMT`,
  'rfc 850': (p) => `${p.day}, ${p.D}-${p.mon}-${p.y} ${p.h}:${p.i}:${p.s} GMT`,
  'rfc 850 cookie': (p) => `${p.day}, ${p.D}-${p.mon}-${p.Y} ${p.h}:${p.i}:${p.s} UTC`,
  'oracle': (p) => `${p.D}-${p.mon.toUpperCase()}-${p.y} ${two(p.k)}.${p.i}.${p.s} ${p.half}`,
  'sql server': (p) => `${p.mon} ${p.d} ${p.Y} ${p.k}:${p.i}${p.half}`,
  'asctime': (p) => `${p.www} ${p.mon} ${String(p.d).padStart(2)} ${p.h}:${p.i}:${p.s} ${p.Y}`,
  'unix date': (p) => `${p.www} ${p.mon} ${String(p.d).padStart(2)} ${p.h}:${p.i}:${p.s} UTC ${p.Y}`,
  'unix date 12 hours': (p) => `${p.www} ${String(p.d).padStart(2)} ${p.mon} ${p.Y} ${p.k}:${p.i}:${p.s} ${p.half} UTC`,
  'words': (p) => `${p.month} ${p.d}, ${p.Y} ${p.h}:${p.i}:${p.s}`,
  'words 12 hours': (p) => `${p.month} ${p.d}, ${p.Y} ${p.k}:${p.i} ${p.half}`,
  'words at': (p) => `${p.month} ${p.d}, ${p.Y} at ${p.k}:${p.i}:${p.s} ${p.half} UTC`,
  'words date': (p) => `${p.mon} ${p.d}, ${p.Y}`,
  'words weekday': (p) => `${p.day}, ${p.month} ${p.d}, ${p.Y}`,
  'words day first': (p) => `${p.d} ${p.month} ${p.Y}`,
  'words year first': (p) => `${p.Y} ${p.mon} ${p.d}`,
  'words hyphens year first': (p) => `${p.Y}-${p.mon}-${p.D}`,
  'words month and year': (p) => `${p.month} ${p.Y}`,
  'words no year': (p) => `${p.mon} ${p.d}`,
  'words ordinal': (p) => `${p.month} ${p.d}th, ${p.Y}`,
  'toDateString': (p) => `${p.www} ${p.mon} ${p.D} ${p.Y}`,
  'upper case': (p) => `${p.www} ${p.mon} ${p.D} ${p.Y} ${p.h}:${p.i}:${p.s} GMT`.toUpperCase(),
  'iana name': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} Europe/Paris`,
  'no other zone': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} CET`,
  'java CET': (p) => `${p.www} ${p.mon} ${p.D} ${p.h}:${p.i}:${p.s} CET ${p.Y}`,
  'us zone': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} EST`,
  'us summer zone': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} PDT`,
  'go utc': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456789 +0000 UTC`,
  'go utc monotonic': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456789 +0000 UTC m=+0.000012345`,
  'go seconds': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} +0000 UTC`,
}

const ZONED = {
  'iso offset': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}${p.Z}`,
  'iso offset minutes': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}${p.Z}`,
  'iso offset basic': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}${p.z}`,
  'iso offset hours': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}${p.hours}`,
  'iso offset comma': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s},${p.f}${p.Z}`,
  'iso offset behind a space': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s} ${p.Z}`,
  'iso offset behind a colon': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}:${p.z}`,
  'iso offset bracketed': (p) => `${p.Y}-${p.M}-${p.D}T${p.h}:${p.i}:${p.s}.${p.f}${p.Z}[Europe/Paris]`,
  'postgres': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}${p.Z}`,
  'postgres hours': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456${p.hours}`,
  'ruby': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} ${p.z}`,
  'ruby colon': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} ${p.Z}`,
  'basic offset': (p) => `${p.Y}${p.M}${p.D}T${p.h}${p.i}${p.s}${p.z}`,
  'rfc 2822': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} ${p.z}`,
  'rfc 2822 comment': (p) => `${p.www}, ${p.D} ${p.mon} ${p.Y} ${p.h}:${p.i}:${p.s} ${p.z} (XYZ)`,
  'twitter': (p) => `${p.www} ${p.mon} ${p.D} ${p.h}:${p.i}:${p.s} ${p.z} ${p.Y}`,
  'internet explorer': (p) => `${p.www} ${p.mon} ${p.d} ${p.h}:${p.i}:${p.s} UTC${p.z} ${p.Y}`,
  'toString without name': (p) => `${p.www} ${p.mon} ${p.D} ${p.Y} ${p.h}:${p.i}:${p.s} GMT${p.z}`,
  'gmt and colon': (p) => `${p.www} ${p.mon} ${p.D} ${p.Y} ${p.h}:${p.i}:${p.s} GMT${p.Z}`,
  'dot net': (p) => `${p.m}/${p.d}/${p.Y} ${p.k}:${p.i}:${p.s} ${p.half} ${p.Z}`,
  'go offset name': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456789 ${p.z} XYZ`,
  'go offset number': (p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f}456789 ${p.z} ${p.z.replace(/00$/, '')}`,
}

const lines = []

function add(form, json) {
  const date = newDate(JSON.parse(json))
  lines.push(`${form}\t${json}\t${Number.isNaN(date.getTime()) ? '-' : date.getTime()}`)
}

for (const [form, write] of Object.entries(FORMS)) {
  for (const moment of MOMENTS) add(form, JSON.stringify(write(parts(moment))))
}

const OFFSETS = [0, 60, -420, 330, 345, -210, 840, -660]
for (const [form, write] of Object.entries(ZONED)) {
  OFFSETS.forEach((offset, index) => {
    add(form, JSON.stringify(write(parts(MOMENTS[index % MOMENTS.length], offset))))
  })
}

// Go and Date.toString() add the names of American zones after the offset.
for (const [zone, offset] of [['PDT', -420], ['PST', -480], ['EST', -300], ['CDT', -300], ['MST', -420]]) {
  add('go american zone', JSON.stringify(((p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s}.${p.f} ${p.z} ${zone}`)(parts(MOMENTS[0], offset))))
}
for (const zone of ['CST', 'EST']) {
  add('offset beside another zone of that name', JSON.stringify(((p) => `${p.Y}-${p.M}-${p.D} ${p.h}:${p.i}:${p.s} ${p.z} ${zone}`)(parts(MOMENTS[0], zone === 'CST' ? 480 : 600))))
}

// Date.toString(), with the zone's name in several languages.
for (const zone of ZONES) {
  for (const language of LANGUAGES) {
    const moment = MOMENTS[(ZONES.indexOf(zone) + LANGUAGES.indexOf(language)) % MOMENTS.length]
    const name = new Intl.DateTimeFormat(language, { timeZone: zone, timeZoneName: 'long' })
      .formatToParts(moment).find((part) => part.type === 'timeZoneName').value
    const clock = new Intl.DateTimeFormat('en', { timeZone: zone, timeZoneName: 'longOffset' })
      .formatToParts(moment).find((part) => part.type === 'timeZoneName').value
    const [, sign, hours, minutes] = /GMT(?:([+-])(\d\d):(\d\d))?/.exec(clock)
    const offset = sign ? (sign + '1') * (hours * 60 + +minutes) : 0
    const p = parts(moment, offset)
    add('toString', JSON.stringify(`${p.www} ${p.mon} ${p.D} ${p.Y} ${p.h}:${p.i}:${p.s} GMT${p.z} (${name})`))
  }
}
add('toString', JSON.stringify(`Tue Nov 14 2023 23:13:20 GMT+0100 (${'Zeit'.repeat(500)})`))
add('toString', JSON.stringify('Tue Nov 14 2023 23:13:20 GMT+0100 (a zone (with more brackets))'))
add('toString', JSON.stringify('Tue Nov 14 2023 23:13:20 GMT+0100 (12:00 PST 2024)'))
add('toString', JSON.stringify('Tue Nov 14 2023 23:13:20 GMT+0100 ()'))

// Numbers, and the same as texts.
for (const moment of [...MOMENTS, new Date('2286-11-20T17:46:39.000Z'), new Date('1973-03-03T09:46:41.000Z')]) {
  const millis = moment.getTime()
  const seconds = Math.floor(millis / 1000)
  add('seconds', `${seconds}`)
  add('seconds text', `"${seconds}"`)
  add('millis', `${millis}`)
  add('millis text', `"${millis}"`)
  add('micros', `${millis}456`)
  add('micros text', `"${millis}456"`)
  add('nanos', `${millis}456789`)
  add('nanos text', `"${millis}456789"`)
  add('seconds with decimals', `${seconds}.${String(millis % 1000).padStart(3, '0')}`)
  add('seconds with decimals text', `"${seconds}.${String(millis % 1000).padStart(3, '0')}"`)
}
add('exponent', '1.7e9')
add('exponent', '1.700000000123e12')
add('exponent', '17E8')
add('exponent text', '"1.7e9"')
add('millis with decimals', '1700000000123.4')
add('spaces around digits', '" 1700000000123 "')
for (const number of [0, 1, -1, 17, 2023, 202311, 86400, 1234567, 99999999, -1700000000, -1700000000123]) {
  add('small or negative number', `${number}`)
}
for (const number of [0, -1, 17, 32, 1234567, -1700000000, -1700000000123]) {
  add('small or negative text', `"${number}"`)
}
for (const number of ['20231114', '20240229', '20260101']) add('number of eight digits', number)
for (const number of ['17000000001', '31557599999', '31557600000', '99999999999']) add('number of eleven digits', number)
for (const number of ['17000000001', '31557600000']) add('text of eleven digits', `"${number}"`)
for (const number of ['20231114221320', '20240229235959']) add('number of fourteen digits', number)
for (const number of ['12345678901234567890', '1e300', '1e-5']) add('number out of range', number)
for (const text of ['1700000000 seconds', '1700000000Z', '1700000000123abc']) add('digits and more', JSON.stringify(text))
for (const text of ['order 1700000000', 'id-1700000000123']) add('digits within', JSON.stringify(text))

// The edges of the calendar.
for (const text of ['2023-02-29T00:00:00Z', '2023-02-30', '2023-11-31T10:00:00Z', '2023-13-01T00:00:00Z', '2023-00-10T00:00:00Z', '2023-01-00T00:00:00Z', '2023-13-45', '20230230T101010Z', '2100-02-29T00:00:00Z', '1900-02-29T00:00:00Z']) add('a date that is none', JSON.stringify(text))
for (const text of ['Feb 30 2023', 'Wed, 31 Jun 2023 10:00:00 GMT', '2/30/2023', '2023/02/30']) add('a date that is none', JSON.stringify(text))
for (const text of ['13/01/2023', '0/10/2023', '1/32/2023', 'Nov 32 2023', '2023/13/01']) add('a date that is none for both', JSON.stringify(text))
for (const text of ['2023-11-14T25:00:00Z', '2023-11-14T10:60:00Z', '2023-11-14T10:00:61Z', '2023-11-14T24:00:01Z', '2023-11-14 24:30', '2023-11-14T99:99:99Z']) add('a time that is none', JSON.stringify(text))
for (const text of ['Nov 14 2023 25:00:00', 'Nov 14 2023 10:60:00', '11/14/2023 13:00 PM', 'Nov 14 2023 10:00:61']) add('a time that is none for both', JSON.stringify(text))
for (const text of ['2023-11-14T24:00:00Z', '2023-12-31T24:00:00', '2024-02-28 24:00:00', 'Nov 14 2023 24:00:00']) add('the end of a day', JSON.stringify(text))
for (const text of ['2016-12-31T23:59:60Z', '2016-12-31T23:59:60.5Z', '2016-12-31 23:59:60', '2017-01-01T00:59:60+01:00']) add('leap second', JSON.stringify(text))
for (const text of ['Sat, 31 Dec 2016 23:59:60 GMT', '2016/12/31 23:59:60']) add('leap second in words', JSON.stringify(text))
for (const text of ['2024-02-29', '2000-02-29T12:00:00Z', '29 Feb 2024', '2/29/2024']) add('leap day', JSON.stringify(text))
for (const text of ['0000-01-01T00:00:00Z', '0001-01-01T00:00:00Z', '0099-12-31T23:59:59Z']) add('first years', JSON.stringify(text))
for (const text of ['0100-01-01T00:00:00Z', '1583-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z', '9999-12-31']) add('years that PostHog stores', JSON.stringify(text))
for (const text of ['+010000-01-01T00:00:00Z', '9999-12-31T24:00:00Z', '-000001-01-01T00:00:00Z', '0000-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00', '+275760-09-13T00:00:00.000Z']) add('years that PostHog does not store', JSON.stringify(text))
for (const text of ['2023-11-14T22', '2023-11-14T', '2023-11-14T22:', '2023-11-14T22Z', '2023-11-', '2023-', 'T22:13:20Z', '22:13:20']) add('half a time', JSON.stringify(text))
for (const text of ['2023-W46-2', '2023-318', '2023-11-14T22:13:20+', '2023-11-14T22:13:20.Z', '2023-11-14T22:13:20+25:00', '2023-11-14T22:13:20+00:60']) add('no form of ours', JSON.stringify(text))
for (const text of ['1/2', '1.2.3', '5-6', '12', '1-1', '99', 'a 5', '3/4', 'May', 'May 5', 'version 1.2', 'iPhone 15', 'Room 12/3']) add('a date only to v8', JSON.stringify(text))
for (const text of ['14 novembre 2023', 'mardi 14 novembre 2023', '14 marraskuu 2023', '14 September. 2023']) add('months of other languages', JSON.stringify(text))
for (const text of ['Nov Nov 14 2023', 'Nov 14 2023 2023', 'Nov 14 2023 10:00 11:00', '2023-11-14 Nov']) add('said twice', JSON.stringify(text))
for (const text of ['2023-11-14T2:3', '2023-1-5T9:05:03Z']) add('hand-made with T', JSON.stringify(text))
for (const text of ['2023-1-5 9:5:3', '2023/1/5 9:05', '1/5/2023 9:5:3', 'Jan 5 2023 9:5']) add('hand-made', JSON.stringify(text))
for (const text of ['yesterday', 'now', '', ' ', 'null', 'undefined', 'Invalid Date', 'NaN', '[object Date]', '{}', '-', '+', ':', '/', 'TTT', 'Z', 'UTC', '::::', '....', '0x65539000', '١٤/١١/٢٠٢٣', '2023年11月14日', '14 ноября 2023', 'Tue Tue Tue', '\u0000', '2023-11-14T22:13:20Z2023-11-14T22:13:20Z']) add('nonsense', JSON.stringify(text))
for (const text of ['(2023-11-14)', '2023(x)-11-14', 'Tue Nov 14 2023 23:13:20 (GMT+0100)']) add('brackets', JSON.stringify(text))
for (const text of ['2023-11-14T22:13:20+00:00Z', '2023-11-14T22:13:20+0000 Z']) add('offset and Z', JSON.stringify(text))
for (const text of ['2023-11-14T22:13:20+02:00Z', 'Tue, 14 Nov 2023 22:13:20 +0200 GMT', '2023-11-14 22:13:20 EST PST']) add('two zones', JSON.stringify(text))
for (const text of ['2023-11-14 22:13:20 GMT+1', '2023-11-14 22:13:20 UTC+05:30', 'Nov 14 2023 10:13 PM GMT-3', '2023-11-14 22:13:20 GMT +0100']) add('gmt and short offset', JSON.stringify(text))
for (const length of [64, 65, 100, 1000]) add('long', JSON.stringify('x'.repeat(length)))
for (const length of [80, 1000]) add('long fraction', JSON.stringify('2023-11-14T22:13:20.' + '5'.repeat(length) + 'Z'))
add('long zeros', JSON.stringify('0'.repeat(200)))
for (const text of ['2023-11-14+01:00', '2023-11-14-05:00', 'Nov 14 2023 GMT+0100', 'Nov 14 2023 +0100']) add('date and offset', JSON.stringify(text))

const seen = new Set()
const out = []
for (const line of lines) {
  if (!seen.has(line)) out.push(line)
  seen.add(line)
}
process.stdout.write(out.join('\n') + '\n')
