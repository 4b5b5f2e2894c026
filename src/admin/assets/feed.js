// What the server has recorded, kept in the order of the numbers; and how much of it is missing here.

// The most rows that the page keeps.
export const KEPT = 5000;

export class Feed {
  rows = [];
  byNumber = new Map();
  seen = 0;
  highest = 0;
  recorded = 0;
  // Recorded before this page came, and gone by then.
  earlier = 0;
  // Recorded since, and never here: the server kept no more until the page asked again.
  skipped = 0;
  // Were here, and made room.
  dropped = 0;
  // Not recorded, because no page had asked for a while.
  unseen = 0;
  #unseenBefore = null;
  #found = '';
  // The highest number that is shown while the list stands still.
  heldAt = null;

  // Searches in what the server keeps, bodies included: it says of each row whether it holds the text.
  find(text) {
    if (text === this.#found) return;
    this.#found = text;
    this.seen = 0;
    for (const row of this.rows) row.found = false;
  }

  hold() {
    this.heldAt ??= this.highest;
  }

  release() {
    this.heldAt = null;
    this.#trim();
  }

  get waiting() {
    return this.heldAt === null ? 0 : this.rows.length - this.#heldEnd();
  }

  #heldEnd() {
    let end = this.rows.length;
    while (end > 0 && this.rows[end - 1].number > this.heldAt) end -= 1;
    return end;
  }

  async ask() {
    const find = this.#found ? `&find=${encodeURIComponent(this.#found)}` : '';
    const asked = this.#found;
    const answer = await fetch(`/live?after=${this.seen}${find}`, { cache: 'no-store' });
    if (!answer.ok) throw new Error(answer.status === 401 ? 'reload the page to enter the token again' : `status ${answer.status}`);
    const news = await answer.json();
    // A search that has been changed meanwhile is requested again.
    if (asked === this.#found) this.take(news);
  }

  take({ latest, recorded, unseen, entries }) {
    if (latest < this.seen || recorded < this.highest) {
      // Another process: its numbers start again.
      this.rows = [];
      this.byNumber.clear();
      this.highest = 0;
      this.heldAt = this.heldAt === null ? null : 0;
      this.#unseenBefore = null;
    }
    const first = this.highest === 0 && this.rows.length === 0;
    let fresh = 0;
    let inOrder = true;
    let highest = this.highest;
    for (const entry of entries) {
      const known = this.byNumber.get(entry.number);
      if (known) {
        Object.assign(known, entry, { changed: (known.changed || 0) + 1 });
        continue;
      }
      if (entry.number <= this.highest) continue;
      fresh += 1;
      inOrder &&= entry.number > highest;
      highest = Math.max(highest, entry.number);
      this.rows.push(entry);
      this.byNumber.set(entry.number, entry);
    }
    if (!inOrder) this.rows.sort((one, other) => one.number - other.number);
    const missing = recorded - this.highest - fresh;
    if (first) this.earlier += missing;
    else this.skipped += missing;
    this.highest = recorded;
    this.recorded = recorded;
    this.seen = latest;
    this.#unseenBefore ??= unseen;
    this.unseen = unseen - this.#unseenBefore;
    this.#trim();
  }

  #trim() {
    const excess = this.rows.length - KEPT;
    if (excess <= 0) return;
    // While the list stands still, what is shown stays, and what waits makes room.
    const from = this.heldAt === null ? 0 : this.#heldEnd();
    for (const gone of this.rows.splice(from, excess)) this.byNumber.delete(gone.number);
    this.dropped += excess;
  }
}
