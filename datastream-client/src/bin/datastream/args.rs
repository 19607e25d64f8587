//! What the command line takes.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datastream_client::{Commit, ValueType};

use crate::output::Format;

const AFTER_HELP: &str = "\
The server is the one that --url names, or DATASTREAM_URL, or the file config.toml in the folder datastream of your
configuration ($XDG_CONFIG_HOME, or ~/.config), as in: url = \"http://127.0.0.1:8080\". Without any of them it is
http://127.0.0.1:8080. The token is that of --token, or of --token-file, or of DATASTREAM_TOKEN, or of DATASTREAM_TOKEN_FILE,
or, for the server of the file, its token = \"...\".

On a terminal the output is a table; elsewhere it is plain: columns divided by tabs, without a header, with \\n, \\t and \\\\
for what would break a line. NO_COLOR turns colours off.

Exit codes: 0 done, 1 not done, 2 a mistake in what was asked for, 3 no connection, 4 a key is not as it was expected to be.";

/// Looks at live settings, and changes them.
#[derive(Parser)]
#[command(name = "datastream", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// How to write what is asked for; by default a table on a terminal, and plain elsewhere.
    #[arg(short, long, value_enum, value_name = "FORMAT", global = true)]
    pub(crate) output: Option<Format>,

    #[command(flatten)]
    pub(crate) way: Way,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// What the command line says, and the environment.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or the help that was asked for.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let is_said = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        // A flag is meant for this call, a variable for many. One that is empty is how many a script says that there is none.
        let is_empty = cli.way.token.as_deref() == Some("");
        if !is_said("token") && (is_empty || is_said("token_file")) {
            cli.way.token = None;
        }
        Ok(cli)
    }
}

/// How the server is reached, and as whom.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Way {
    /// The server, such as http://127.0.0.1:8080, https://host or unix:/path; several with commas between them.
    #[arg(long, env = "DATASTREAM_URL", hide_env_values = true, value_name = "URL", global = true)]
    pub(crate) url: Option<String>,

    /// The token that says who you are; better in DATASTREAM_TOKEN or the file, where no list of processes shows it.
    #[arg(long, env = "DATASTREAM_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    pub(crate) token: Option<String>,

    /// A file with the token, which is read for each call.
    #[arg(long, env = "DATASTREAM_TOKEN_FILE", hide_env_values = true, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,

    /// The issuers that are trusted with https://, in the PEM format; by default those of the system.
    #[arg(long, env = "DATASTREAM_CA_FILE", hide_env_values = true, value_name = "FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,

    /// A certificate to show with https://, in the PEM format; with --key-file.
    #[arg(long, env = "DATASTREAM_CERT_FILE", hide_env_values = true, value_name = "FILE", global = true)]
    pub(crate) cert_file: Option<PathBuf>,

    /// The key of --cert-file.
    #[arg(long, env = "DATASTREAM_KEY_FILE", hide_env_values = true, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the keys, with their types.
    List {
        /// Only keys that begin with this.
        prefix: Option<String>,
    },
    /// Shows a value: of a key by itself, as it is; of a prefix, such as pool/, as a list.
    Get {
        /// A key, or a prefix with its trailing slash.
        key: String,
    },
    /// Sets a value.
    Set(Set),
    /// Deletes keys, together. One that does not exist is no error.
    Del {
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        note: Note,
    },
    /// Shows values, and each change of them, until it is interrupted.
    Watch {
        /// A key, or a prefix with its trailing slash.
        key: String,
    },
    /// Shows what was changed, newest first.
    History {
        /// A key, or a prefix with its trailing slash.
        key: String,
        /// How many changes to show at most.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
        limit: usize,
    },
    /// Makes the settings what a file says, as one commit: shows what it would change, and asks
    ///
    /// A file is TOML, or JSON if its name ends in .json. Nested tables are keys divided by slashes: size in the table pool is
    /// pool/size. A value has the type of what is written: int, float, bool, string, timestamp (a date and time with its
    /// offset), and json for a list. Any other type is named: { type = "duration", value = "1m30s" }, and bytes that are no
    /// text are { type = "bytes", base64 = "/wA=" }; a table with just these two members is always such a value. The value of
    /// a json is written as a table or list, or as the text of the JSON.
    #[command(verbatim_doc_comment)]
    Apply(Apply),
    /// Writes all settings, or those below a prefix, into one file
    ///
    /// They are one whole state, of one position: a line for each key, in order, with its type, and its value as text, or as
    /// base64 if it is no text. The file is replaced at once, and a new one is for its owner only.
    #[command(verbatim_doc_comment)]
    Export(Export),
    /// Writes what a file says to the server, whatever store it has
    ///
    /// The file is one that was exported, or one as apply takes it. It is read as a whole before anything is written. What the
    /// server has already is not written again, and nothing is deleted; so it can be run again, as after it was interrupted.
    /// Keys are written in batches, and one that is refused stops no other.
    #[command(verbatim_doc_comment)]
    Import(Import),
    /// Keeps a directory equal to what lies below a prefix, as files, until it is interrupted
    ///
    /// Each key is a file whose bytes are the value. The directory is a link to one whole state, and another state takes its
    /// place at once, whatever is killed when; a reader resolves it once, and reads below that. It stays as it is while there
    /// is no server. A key that cannot be a file is left out, and named.
    ///
    /// The command of --exec is run after each state, and after the first in any case. Its environment has DATASTREAM_DIR and
    /// DATASTREAM_REVISION. States that come while it runs are followed by one more run.
    #[cfg(unix)]
    #[command(verbatim_doc_comment)]
    Mirror(Mirror),
    /// Shows how the server is.
    Status,
    /// Writes the completions of a shell.
    Completions { shell: Shell },
}

/// A value to set.
#[derive(Debug, Args)]
pub(crate) struct Set {
    pub(crate) key: String,
    /// The value, as text in the grammar of its type.
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// The type: int, float, bool, string, json, bytes, duration or timestamp. An existing key keeps the one that it has.
    #[arg(long = "type", value_name = "TYPE", value_parser = value_type)]
    pub(crate) value_type: Option<String>,
    /// Only if the key is at this revision.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expect: Option<u64>,
    /// Only if the key does not exist.
    #[arg(long, conflicts_with = "expect")]
    pub(crate) create: bool,
    /// A change of the type of the key is meant.
    #[arg(long)]
    pub(crate) retype: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// A file to apply.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Delete what lies below this prefix, and is not in the file.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prune: Option<String>,
    /// Change the types of keys where the file has others.
    #[arg(long)]
    pub(crate) retype: bool,
    /// Only show what would be changed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// What to export.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only what lies below this prefix, such as pool/.
    pub(crate) prefix: Option<String>,
    /// The file; without it, or with -, the settings are written to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How to write it; by default JSON if the name of the file ends in .json, and TOML otherwise.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<FileFormat>,
}

/// How a file of settings is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    Toml,
    Json,
}

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file, TOML, or JSON if its name ends in .json; - is stdin.
    pub(crate) file: PathBuf,
    /// Change the types of keys where the file has others.
    #[arg(long)]
    pub(crate) retype: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// What to mirror, and where.
#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// The prefix, such as configs/; configs/app.conf is the file app.conf.
    pub(crate) prefix: String,
    /// The directory. It must not be there, or be empty, or be of a mirror; its versions lie in .DIR.datastream beside it.
    pub(crate) dir: PathBuf,
    /// Run this by the shell after each change.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// Only write the first whole state, run the command, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// For how many seconds --once waits for the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
}

/// What the history says of a change.
#[derive(Clone, Debug, Args)]
pub(crate) struct Note {
    /// Why; for the history.
    #[arg(short, long)]
    message: Option<String>,
    /// Who; for the history.
    #[arg(long, env = "USER", hide_env = true)]
    author: Option<String>,
}

impl Note {
    /// Notes it on a commit.
    pub(crate) fn on(self, commit: Commit) -> Commit {
        commit.author(self.author.unwrap_or_default()).message(self.message.unwrap_or_default())
    }
}

/// Takes the name of a type, as it is written.
pub(crate) fn value_type(name: &str) -> Result<String, String> {
    let names = || ValueType::ALL.map(ValueType::name).join(", ");
    ValueType::named(name).map(|_| name.to_owned()).ok_or_else(|| format!("a type is one of {}", names()))
}
