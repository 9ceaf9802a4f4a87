//! keywheel.toml: text to typed configuration with every error at once. Must not open anything but the files it is given.

#![forbid(unsafe_code)]
