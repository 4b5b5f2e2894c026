//! Seeds and broken variants of them, the same in every run.

/// Runs a target on each seed, and on so many broken variants of each.
pub fn whole_and_broken(seeds: &[impl AsRef<[u8]>], rounds: usize, target: fn(&[u8])) {
    assert!(!seeds.is_empty());
    let mut numbers = Numbers(0xfeed);
    for seed in seeds {
        let seed = seed.as_ref();
        target(seed);
        for _ in 0..rounds {
            target(&broken(seed, &mut numbers));
        }
    }
}

/// The same numbers in each run (xorshift).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// The changes that a broken line, a broken sender or a hostile sender makes to a text.
pub fn broken(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b",",
        b":",
        b"null",
        b"NaN",
        b"1e999",
        b"\\ud83d",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\"a\":1,",
        b"\"context\":{\"campaign\":\"x\"},",
        b"\0",
        b"\"batch\":[",
        b"[[[[[[[[[[[[[[[[[[[[",
        b"\"properties\":[1,2],",
        b"-",
        b"\n",
        b"\"segment_0\":7,",
        b"\"sentAt\":\"2026-11-23T10:00:00Z\",",
    ];
    let mut text = seed.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(text.len() + 1);
        let end = (at + numbers.below(12)).min(text.len());
        match numbers.below(5) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => {
                let copy = text[at..end].to_vec();
                let to = numbers.below(text.len() + 1);
                text.splice(to..to, copy);
            }
            3 if at < text.len() => text[at] = numbers.below(256) as u8,
            _ => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
        }
    }
    text
}

/// The texts of all files in this folder of the repository, ordered by name.
pub fn texts(folder: &str) -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_there = |root: &&std::path::Path| root.join(folder).is_dir();
    let root = root.ancestors().find(is_there).expect("the folder");
    let mut files: Vec<_> = std::fs::read_dir(root.join(folder))
        .expect("the folder")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("a text"))
        .collect()
}
