"""How to read a log that is being written and rotated: every line once, whatever happens to its files.

The application and its log rotation stand before this, a collector behind it. A collector asks for the next slice of
lines, and remembers the position after it together with what it made of the lines; from that position on, this process
or the next one reads neither a line twice nor skips one, for as long as the line still is in some file.

A file is recognised by its identity (device and inode) and its content: a digest of its first bytes, and one of the
bytes just before the place where reading stopped. So it is found again when it was renamed (same inode), copied or
compressed (same content), whatever it is called then, and it is not taken for itself when it was truncated and has
grown again, or when its inode was given to another file. Files that were rotated away while the log was not read are
those that have one of the log's rotated names, or a name like the one under which its file was found, and were written
after everything that was known. Names and times must agree; a file about which they do not is named in an event.

    log.py        reads on in each file, and hands out slices
    search.py     finds the files and puts them in order, at a rotation only
    recognise.py  compares files with what the position remembers
    order.py      tells which files are new
    names.py      tells whose rotated file a name is
    rotation.py   asks pygtail for the last rotated name, as logrotate, savelog and Python's handlers give them
    folders.py    lists folders, when something has changed there
    files.py      one file; archives.py its content, when it is compressed
    position.py   what is remembered; slice.py what is handed over

pygtail's reading itself is not used: it stops at a byte that is no text, calls tell() for every line, can lose its own
offset file, knows one rotation only, and opens files by names that may have moved on.

What counts as a line: whatever a newline ends, and what is left at the end of a rotated file once nothing more is
written to it. Blank lines are none. A carriage return, NUL and bytes that are no UTF-8 are left in the line, but NUL
bytes before a line do not make it longer. A line that is too long is counted and passed over in pieces. The half line
at the end of the live file waits for its end.
"""

from exporter.sources.jsonl.log import JsonlLog
from exporter.sources.jsonl.position import Position
from exporter.sources.jsonl.slice import Slice

__all__ = ["JsonlLog", "Position", "Slice"]
