"""Checks in a log of `strace -f -y` that no push was answered before the write-ahead log was written and synced.

    order.py LOG PUSHES

The pushes were made one after the other. So of what the server did between two answers, all that concerns the
write-ahead log was done for the second: it must have been written, and a sync of it must have returned after the
last of these writes and before the write of the answer began.
"""

import ast
import re
import sys

CALL = re.compile(r'(?P<name>\w+)\(\d+<(?P<file>[^>]*)>')
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
WRITES, SYNCS, ANSWERS = {"write", "pwrite64", "pwritev"}, {"fsync", "fdatasync"}, {"write", "writev", "sendto", "sendmsg"}
HEADERS, END_STREAM = 1, 1


def steps(lines):
    """Each call twice, when it begins and when it has returned: (has returned, text of the call)."""
    begun = {}
    for line in lines:
        thread, text = line.rstrip("\n").split(maxsplit=1)
        if text.startswith("<... "):
            yield True, begun.pop(thread, "") + text.split(" resumed>", 1)[1]
        elif text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            yield False, begun[thread]
        else:
            yield False, text
            yield True, text


def answers(sent):
    """Takes the whole HTTP/2 frames off what was sent, and counts those that begin an answer."""
    count = 0
    while len(sent) >= 9 and len(sent) >= (size := 9 + int.from_bytes(sent[:3])):
        count += sent[3] == HEADERS and not sent[4] & END_STREAM
        del sent[:size]
    return count


def octets(text):
    """What a call has written, as strace shows it."""
    parts = TEXT.findall(text)
    assert not any(cut for _, cut in parts), f"strace has cut it short: {text}"
    return b"".join(ast.literal_eval(f'b"{part}"') for part, _ in parts)


def check(lines):
    """The number of answers, and of those that came too early."""
    sent, is_written, is_synced, answered, early = {}, False, False, 0, 0
    for has_returned, text in steps(lines):
        call = CALL.match(text)
        if not call:
            continue
        name, file = call["name"], call["file"]
        if file.endswith("-wal") and name in WRITES and not has_returned:
            is_written, is_synced = True, False
        elif file.endswith("-wal") and name in SYNCS and has_returned and text.endswith("= 0"):
            is_synced = is_written
        elif file.startswith("socket:") and name in ANSWERS and not has_returned:
            begun = answers(sent.setdefault(file, bytearray()).__iadd__(octets(text)))
            answered += begun
            early += begun and not is_synced
            if begun:
                is_written = is_synced = False
    return answered, early


def main():
    with open(sys.argv[1], encoding="latin-1") as log:
        answered, early = check(log)
    pushes = int(sys.argv[2])
    verdict = "PASS" if answered == pushes and early == 0 else "FAIL"
    print(f"{verdict} a sync of the log before each answer: {answered} answers to {pushes} pushes, {early} too early")
    sys.exit(verdict != "PASS")


main()
