#!/usr/bin/env python3
"""A second reader of the evidence journal, written from docs/EVIDENCE.md alone; needs nothing but Python.

verify-evidence.py JOURNAL: checks every hash, link, sequence and row digest; exit code 1 if one does not hold."""
import hashlib, os, sys

def lz4(block, size):
    out, at = bytearray(), 0
    def extended(length):
        nonlocal at
        if length == 15:
            while True:
                at += 1
                length += block[at - 1]
                if block[at - 1] != 255:
                    break
        return length
    while at < len(block):
        token = block[at]; at += 1
        literals = extended(token >> 4)
        out += block[at:at + literals]; at += literals
        if at >= len(block):
            break
        back = int.from_bytes(block[at:at + 2], "little"); at += 2
        for _ in range(extended(token & 15) + 4):
            out.append(out[-back])
    assert len(out) == size, "wrong length after decompression"
    return bytes(out)

def fields(payload):
    at = 0
    while at < len(payload):
        tag, at, length, shift = payload[at], at + 1, 0, 0
        while True:
            byte = payload[at]; at += 1
            length |= (byte & 127) << shift; shift += 7
            if byte < 128:
                break
        assert at + length <= len(payload), "malformed field"
        yield tag, payload[at:at + length]
        at += length

def number(value):
    return int.from_bytes(value, "big")

def count_rows(data):
    at = rows = 0
    while at < len(data):
        at, rows = at + 1 + number(data[at + 1:at + 5]), rows + 1
    return rows

totals = {"statements": 0, "open": 0, "rows": 0}
def lane(directory, label):
    sequence, previous, open_ = 0, bytes(32), {}
    segments = sorted(name for name in os.listdir(directory) if name.endswith(".seg"))
    for index, name in enumerate(segments, 1):
        data, at = open(os.path.join(directory, name), "rb").read(), 8
        place = f"lane {label} {name}"
        assert data[:8] == b"PGWKTEV1" and int(name[:-4]) == index, f"{place}: not the segment expected here"
        while at < len(data):
            place = f"lane {label} {name} entry {sequence + 1} byte {at}"
            size = number(data[at:at + 4])
            entry = data[at:at + size]
            assert 80 <= size == len(entry), f"{place}: incomplete"
            assert hashlib.sha256(entry[:-32]).digest() == entry[-32:], f"{place}: the hash does not match"
            assert entry[16:48] == previous and number(entry[8:16]) == sequence + 1, f"{place}: does not follow"
            sequence, previous, at = sequence + 1, entry[-32:], at + size
            kind, found = entry[5], dict(fields(entry[48:-32]))
            rows = found.get(47, b"")
            if 46 in found:
                rows = lz4(found[46][4:], number(found[46][:4]))
            if kind == 4:
                totals["statements"] += 1
                if found[30] != b"\2":
                    open_[found[1]] = b""
            elif kind == 5:
                open_[found[1]] += rows
            elif kind == 6:
                rows = open_.pop(found[1]) + rows
                if found[48] == b"\1":
                    assert hashlib.sha256(rows).digest() == found[45], f"{place}: rows do not match their digest"
                    assert (count_rows(rows), len(rows)) == (number(found[41]), number(found[42])), f"{place}: row count"
                    totals["rows"] += count_rows(rows)
    totals["open"] += len(open_)
    print(f"lane {label} sequence {sequence} sha256 {previous.hex()}")

code = 0
for name in sorted(name for name in os.listdir(sys.argv[1]) if name.startswith("lane-")):
    try:
        lane(os.path.join(sys.argv[1], name), int(name[5:]))
    except AssertionError as wrong:
        code = 1
        print(wrong)
print(f"{totals['statements']} statements, {totals['open']} without outcome, {totals['rows']} rows")
sys.exit(code)
