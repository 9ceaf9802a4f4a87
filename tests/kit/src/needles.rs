//! Many texts looked for in large files at once. This crate is compiled with optimisation in every build: a search by bytes takes a hundred
//! times as long without.

/// Texts to be found.
#[derive(Debug)]
pub struct Needles {
    all: Vec<Vec<u8>>,
    /// Whether one of them begins with these two bytes.
    begins: Vec<bool>,
}

impl Needles {
    /// For these texts.
    ///
    /// # Panics
    /// When one has fewer than eight bytes: it would be found everywhere.
    pub fn new(all: Vec<Vec<u8>>) -> Self {
        let mut begins = vec![false; 1 << 16];
        for needle in &all {
            assert!(needle.len() >= 8, "too short to be looked for");
            begins[pair(needle[0], needle[1])] = true;
        }
        Self { all, begins }
    }

    /// Those that are in these bytes, in the order in which they were given.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&[u8]> {
        let mut found = vec![false; self.all.len()];
        for (at, two) in bytes.windows(2).enumerate() {
            if self.begins[pair(two[0], two[1])] {
                for (found, needle) in found.iter_mut().zip(&self.all) {
                    *found |= bytes[at..].starts_with(needle);
                }
            }
        }
        let found = self.all.iter().zip(found).filter(|(_, found)| *found);
        found.map(|(needle, _)| needle.as_slice()).collect()
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needle_is_found_wherever_it_stands_and_nothing_else() {
        let needles = ["beginning", "the middle", "beginner1", "the end 12", "not there"];
        let needles = Needles::new(needles.map(|text| text.as_bytes().to_vec()).to_vec());
        let found = needles.found_in(b"beginning of beginner1, the mid, the middle, not ther, the end 12");
        let found: Vec<_> = found.into_iter().map(String::from_utf8_lossy).collect();
        assert_eq!(found, ["beginning", "the middle", "beginner1", "the end 12"]);
        assert!(needles.found_in(b"").is_empty());
        assert!(needles.found_in(b"the middl").is_empty());
    }
}
