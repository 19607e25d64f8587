//! The program `datastream`: what it says, and the code that it exits with.
//!
//! Each test is a transcript: commands, what they write, and their exit codes. It is compared with a file in
//! `command_line/transcripts`, in which a line of stderr begins with `!`. `DATASTREAM_REWRITE_TRANSCRIPTS=1` writes the files
//! anew.

mod apply;
mod look;
mod mistakes;
mod transcript;
mod watch;
mod write;
