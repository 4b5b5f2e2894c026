// The strip on top: projects, two plots of the last hour, what was refused lately.
import { bytes, clock, day, element, number, plural, span } from '/words.js';

const HOUR = 3600;
const SVG = 'http://www.w3.org/2000/svg';
const STANDING = { well: 'well', failing: 'failing', away: 'away' };

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// One number for the eye: three digits.
function brief(value) {
  if (value >= 100) return number(Math.round(value));
  return String(Number(value.toPrecision(2)));
}

// Curves over the last hour; a value that is null leaves a gap.
function plot(at, now, curves, label) {
  const top = Math.max(1, ...curves.flat().filter((value) => value !== null));
  const x = (time) => (360 * (1 - Math.min(HOUR, now - time) / HOUR)).toFixed(1);
  const y = (value) => (38 - 36 * (value / top)).toFixed(1);
  const picture = shape('svg', { viewBox: '0 0 360 40', preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
  picture.append(shape('line', { class: 'base', x1: 0, x2: 360, y1: 39, y2: 39 }));
  curves.forEach((values, place) => {
    let run = [];
    const runs = [run];
    values.forEach((value, index) => {
      if (value === null) runs.push(run = []);
      else run.push([x(at[index]), y(value)]);
    });
    for (const points of runs.filter((points) => points.length)) {
      // A single sample is a short line, or it could not be seen.
      const drawn = points.length > 1 ? points : [[Number(points[0][0]) - 1.5, points[0][1]], points[0]];
      const line = drawn.map((point) => point.join(' ')).join(' L ');
      if (place === 0) picture.append(shape('path', { class: 'area', d: `M ${drawn[0][0]} 39 L ${line} L ${drawn.at(-1)[0]} 39 Z` }));
      picture.append(shape('path', { class: place ? 'curve second' : 'curve', d: `M ${line}` }));
    }
  });
  return picture;
}

function show(figure, headline, picture, top) {
  figure.querySelector('b').textContent = headline;
  figure.querySelectorAll('svg, .axis').forEach((old) => old.remove());
  figure.append(picture, element('div', 'axis', element('span', '', '1 h ago'), element('span', '', top)));
}

function project(one, now, hasSpool) {
  const head = element('h2', '', one.name, element('span', `is-${one.posthog}`, element('span', 'dot'), `PostHog ${STANDING[one.posthog]}`));
  const made = element('div', 'project', head);
  const say = (...text) => {
    const line = element('p', '', ...text);
    line.title = line.textContent;
    made.append(line);
  };
  if (one.failing_since) {
    say(`failing for ${span((now - one.failing_since) * 1000)}, ${plural(one.failed, 'batch', 'batches')}`);
  }
  if (one.last_error) {
    const ago = one.failing_since ? '' : `${span((now - one.last_error.at) * 1000)} ago: `;
    say('last error: ', ago, one.last_error.says);
  }
  if (one.waiting) {
    // How old the oldest is, is known where this process drains them.
    const [words, seconds] = one.oldest === null ? ['not empty for', one.waiting_for ?? 0] : ['the oldest for', one.oldest];
    say(`${plural(one.waiting, 'event', 'events')} in the spool, ${bytes(one.waiting_bytes)}, ${words} ${span(Math.max(1, seconds) * 1000)}`);
  } else if (hasSpool) {
    say('spool empty');
  }
  if (one.dead_letters) say(`${plural(one.dead_letters, 'dead letter', 'dead letters')}: `, element('code', '', 'hedgerow spool'));
  if (one.stalled) say(`not drained: ${one.stalled}`);
  return made;
}

// The moment, without seconds; with its day where that is not today.
function moment(at, now) {
  const [then, today] = [at, now].map((seconds) => new Date(seconds * 1000).toISOString());
  const time = clock(then).slice(0, 5);
  return day(then) === day(today) ? time : `${day(then)} ${time}`;
}

function configuration({ generation, since, refused }, now) {
  const atWork = `generation ${number(generation)}, at work since ${moment(since, now)}`;
  if (!refused) return element('div', 'project', element('p', '', `configuration: ${atWork}`));
  const word = element('span', 'is-away', element('span', 'dot'), `change refused at ${moment(refused.at, now)}`);
  return element('div', 'project', element('h2', '', 'Configuration', word), element('p', 'whole', refused.says), element('p', '', `as before: ${atWork}`));
}

export class Strip {
  #last = '';

  draw(state) {
    const { now, hour, projects, refused_lately: refused } = state;
    const of = (id) => document.getElementById(id);
    // What is not well comes first.
    const order = ['away', 'failing', 'well'];
    const sorted = projects.toSorted((one, other) => order.indexOf(one.posthog) - order.indexOf(other.posthog));
    const cards = sorted.map((one) => project(one, now, state.spool));
    const config = configuration(state.config, now);
    if (state.config.refused) cards.unshift(config);
    else cards.push(config);
    if (state.unready.length) cards.push(element('div', 'project', element('p', 'is-away', `not ready: ${state.unready.join(', ')}`)));
    // What has not changed is not drawn again: it may be selected, or just read out.
    const text = cards.map((card) => card.textContent).join('\n');
    if (text !== this.#last) of('projects').replaceChildren(...cards);
    this.#last = text;

    const last = (values) => values.filter((value) => value !== null).at(-1);
    const begun = hour.at.length > 0;
    const rate = begun ? last(hour.events) : null;
    const most = Math.max(0, ...hour.events);
    show(of('rate'), rate === null ? '–' : brief(rate),
      plot(hour.at, now, [hour.events], begun ? `Events a second in the last hour: now ${brief(rate)}, at most ${brief(most)}` : 'No sample yet'),
      begun ? `at most ${brief(most)}` : `first in ${hour.every} s`);
    const [median, slow] = [last(hour.median), last(hour.slow)];
    const timed = median !== undefined;
    show(of('latency'), timed ? `≤ ${span(median)}` : '–',
      plot(hour.at, now, [hour.median, hour.slow], timed ? `Time to answer in the last hour: half within ${span(median)}, 95 % within ${span(slow)}` : 'No sample yet'),
      timed ? `95 % ≤ ${span(slow)}` : '');
    const all = refused.reduce((sum, { number: count }) => sum + count, 0);
    of('refused').querySelector('h2').textContent = all ? `${plural(all, 'refusal', 'refusals')} in 5 minutes` : 'Refused in 5 minutes';
    of('refused').querySelector('p').replaceChildren(...(all
      ? refused.map(({ code, number: count }) => element('span', 'chip', element('b', '', number(count)), ` ${code}`))
      : [element('span', 'soft', 'nothing')]));
  }
}
