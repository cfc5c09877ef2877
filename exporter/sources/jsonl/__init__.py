"""How to read a log that is being written and rotated: every line once, whatever happens to its files.

The application and its log rotation stand before this, a collector behind it. A collector asks for the next slice of
lines, and remembers the position after it together with what it made of the lines; from that position on, this process
or the next one reads neither a line twice nor skips one, for as long as the line still is in some file.

pygtail knows where a rotated file goes: logrotate's, savelog's and Python's names, and which of them is the last. It
is asked for that. The rest is ours, as pygtail stops at a byte that is no text, calls tell() for every line, can lose
its own offset file, knows one rotation only, and opens files by names that may have moved on: the older rotations,
recognising a file again, and reading it.

A file is recognised by its inode and by what it holds: a digest of its first bytes and one of the bytes just before
the place where reading stopped. So it is found again when it was renamed (same inode), copied or compressed (same
content), and it is not taken for itself when it was truncated and has grown again, or when its inode was given to
another file. Files that were rotated away while nobody looked are the ones newer than the newest that is recognised.

What counts as a line: whatever a newline ends, and what is left at the end of a rotated file once nothing more is
written to it. Blank lines are none. A carriage return, NUL and bytes that are no UTF-8 are left in the line. A line
that is too long is counted and passed over in pieces. The half line at the end of the live file waits for its end.
"""

from exporter.sources.jsonl.log import JsonlLog
from exporter.sources.jsonl.position import Position
from exporter.sources.jsonl.slice import Slice

__all__ = ["JsonlLog", "Position", "Slice"]
