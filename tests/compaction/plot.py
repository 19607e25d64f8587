#!/usr/bin/env python3
"""Draws what the compaction test measured.

    tests/compaction/plot.py SAMPLES.csv OUT.svg

The samples are those that tests/it/committing/compaction.rs writes to the file that DATASTREAM_SAMPLES names.
"""

import csv
import sys

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 40, 40
POINTS = 300
MIB = 1 << 20
CURVES = [
    ("memory", "#b5541c", lambda row: row["memory"]),
    ("file and its log", "#1c6cb5", lambda row: row["file"] + row["log"]),
    ("the file alone", "#2b8a3e", lambda row: row["file"]),
]


def main(samples, out):
    with open(samples, newline="") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    # The largest of each stretch, so that no peak is lost.
    step = max(1, len(rows) // POINTS)
    end = rows[-1]["seconds"]
    top = round_up(max(of(row) for row in rows for _, _, of in CURVES) / MIB)

    def x(seconds):
        return LEFT + seconds / end * (WIDTH - LEFT - RIGHT)

    def y(mib):
        return HEIGHT - BOTTOM - mib / top * (HEIGHT - TOP - BOTTOM)

    title = f"{rows[-1]['written'] / MIB:.0f} MiB written in {end:.0f} s while all but 200 ms is forgotten"
    parts = [text(LEFT, 20, title, "start")]
    for mib in (0, top / 4, top / 2, top * 3 / 4, top):
        parts.append(f'<path d="M{LEFT} {y(mib):.1f}H{WIDTH - RIGHT}" stroke="#8884"/>')
        parts.append(text(LEFT - 6, y(mib) + 4, f"{mib:g} MiB", "end"))
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        parts.append(text(x(end * fraction), HEIGHT - BOTTOM + 18, f"{end * fraction:.0f} s", "middle"))
    for name, colour, of in CURVES:
        stretches = [rows[i : i + step] for i in range(0, len(rows), step)]
        line = " ".join(f"{x(s[0]['seconds']):.1f},{y(max(map(of, s)) / MIB):.1f}" for s in stretches)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for n, (name, colour, of) in enumerate(CURVES):
        label = f"{name}, at most {max(map(of, rows)) / MIB:.1f}"
        parts.append(text(WIDTH - RIGHT + 6, TOP + 14 + 18 * n, label, "start", colour))
    with open(out, "w") as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )


def round_up(mib):
    """The next that is divided by four well."""
    return next(size for size in (4, 8, 20, 40, 80, 120, 160, 200, 400, 800, 1600, 10**6) if size >= mib)


def text(x, y, words, anchor, colour="#333"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
