//! The plugin runtime against components that are built here: what is refused, what is pinned, what is ended.

mod calls;
mod guest;
mod loading;
mod pinning;
mod world;
