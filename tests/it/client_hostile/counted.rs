//! All rows in one process of their own: what they leave behind is counted.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datastream_client::Client;

use super::{application, broken, cache, histories, odd, quiet, refusing, size};
use crate::wire::DEADLINE;

/// Set in the process of its own.
const INSIDE: &str = "DATASTREAM_COUNTED_ROWS";

/// How much memory the process may take at its worst: both states of the row on sizes, each below its limit of 32 MiB, and
/// as much again for copies on their way, beside the program itself.
const MOST_MEMORY: usize = 256 << 20;

/// The tests of a module, by their names.
macro_rules! rows {
    ($($module:ident { $($row:ident)* })*) => {
        &[$($((stringify!($row), $module::$row),)*)*]
    };
}

/// All rows: a test among them is a function like others.
const ROWS: &[(&str, fn())] = rows! {
    broken {
        rows_75_76_77_81_84_89_a_broken_stream_is_dropped_and_what_it_said_is_not_shown
        row_75_a_first_state_that_is_never_finished_is_not_shown
        row_81_a_first_delivery_that_does_not_fit_is_no_state
        row_84_a_heartbeat_ahead_of_the_data_moves_the_position
    }
    size {
        row_76_a_state_of_five_gigabytes_is_left_at_the_limit
        row_76_a_state_of_ten_million_keys_is_left_at_the_limit
    }
    histories {
        row_78_a_history_that_flips_with_every_message_is_followed_without_new_requests
        row_89_another_store_is_accepted_only_with_a_reset
    }
    odd {
        row_79_a_key_that_nobody_asked_for_is_dropped
        row_80_the_same_change_a_thousand_times_is_one
        row_82_a_tombstone_of_an_unknown_key_is_dropped
        row_83_of_two_names_of_a_key_that_of_the_map_counts
        row_90_times_at_the_end_of_all_time_do_no_harm
    }
    quiet {
        row_85_heartbeats_alone_after_a_write_of_our_own_are_doubted
        row_88_headers_and_then_silence_is_given_up
        row_88_a_listener_that_accepts_and_is_silent_is_given_up
    }
    refusing {
        rows_86_87_a_stream_that_always_ends_at_once_is_no_hot_loop
        row_91_an_error_text_of_any_size_is_cut_and_escaped
    }
    cache {
        row_92_a_file_that_is_damaged_anywhere_is_as_none
        row_92_the_cache_of_another_server_is_as_none
        row_92_a_link_a_directory_a_device_and_a_place_that_cannot_be_written_stop_nothing
    }
    application {
        row_93_a_function_that_panics_concerns_only_its_handle
        row_94_callbacks_that_block_for_ever_stall_nothing
        row_95_handles_are_read_while_everything_ends
    }
};

#[test]
fn the_rows_leave_no_panic_and_no_thread_behind_and_their_memory_is_bounded() {
    if std::env::var_os(INSIDE).is_some() {
        return count();
    }
    let program = std::env::current_exe().expect("a running test has a path");
    let test = concat!(
        "client_hostile::counted::",
        "the_rows_leave_no_panic_and_no_thread_behind_and_their_memory_is_bounded"
    );
    let output = Command::new(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.expect("it can be run");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("test result: ok. 1 passed"), "{said}");
    said.lines().filter(|line| line.starts_with("row")).for_each(|line| println!("{line}"));
}

fn count() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        said(panic);
    }));
    // All clients of a process share a runtime for what they do on threads of their own, and it stays.
    drop(Client::connect("http://127.0.0.1:1").watch::<i64>("n"));
    let before = of_this_process("Threads:");
    for (name, row) in ROWS {
        let panics = PANICS.load(Ordering::Relaxed);
        row();
        let on_purpose = if name.starts_with("row_93_") { application::PANICS } else { 0 };
        assert_eq!(PANICS.load(Ordering::Relaxed) - panics, on_purpose, "{name}");
        let began = Instant::now();
        // Those of a runtime that was shut down in the background take a moment to end.
        while of_this_process("Threads:") > before {
            assert!(
                began.elapsed() < DEADLINE,
                "{name}: {} threads more",
                of_this_process("Threads:") - before
            );
            std::thread::yield_now();
        }
        println!("{name}: {} KiB now, {} KiB at most", of_this_process("VmRSS:"), of_this_process("VmHWM:"));
    }
    assert!(of_this_process("VmHWM:") << 10 < MOST_MEMORY, "{} KiB at most", of_this_process("VmHWM:"));
}

/// A number that the system has of this process.
fn of_this_process(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has such a line");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}
