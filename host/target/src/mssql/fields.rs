/// Takes a message apart; whatever is not there is none.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn two(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn four(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn eight(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// What follows a length of two bytes.
    pub(super) fn after_two(&mut self) -> Option<Self> {
        let length = self.two()?;
        self.take(length.into()).map(Self)
    }

    /// What follows a length of four bytes.
    pub(super) fn after_four(&mut self) -> Option<Self> {
        let length = usize::try_from(self.four()?).ok()?;
        self.take(length).map(Self)
    }

    /// Text of so many characters, of two bytes each.
    pub(super) fn text(&mut self, characters: usize) -> Option<String> {
        self.take(2 * characters).map(utf16)
    }

    /// Text after its length in one byte.
    pub(super) fn short_text(&mut self) -> Option<String> {
        let length = self.byte()?;
        self.text(length.into())
    }
}

/// Text of two bytes each, little end first; what is none is replaced.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}
