"""A reader of a log that is being written and rotated: it returns every line once, through any rotation of the files.

The application and its log rotation come before this package, a collector after it. A collector asks for the next slice
of lines, and saves the position after it together with its counts of the lines; from that position on, this process or
the next one neither repeats nor skips a line, as long as the line still is in a file.

A file is recognised by its identity (device and inode) and its content: a digest of its first bytes, and a digest of
the bytes just before the place where reading stopped. A file that was renamed (same inode), copied or compressed (same
content) is therefore found again under any name; a file that was truncated and has grown again, or another file with a
reused inode, is not taken for the same file. Files that were rotated while the log was not read are files with one of
the log's rotated names, or a name like the one under which its file was found, that were written after all known files.
Names and times must agree; a file for which they do not is named in an event.

    log.py        reads on in each file, and returns slices
    search.py     finds the files and puts them in order, at a rotation only
    recognise.py  compares files with the saved position
    order.py      detects new files
    names.py      detects the log of a rotated name
    rotation.py   asks pygtail for the last rotated name, in the schemes of logrotate, savelog and Python's handlers
    folders.py    lists folders, after changes in them only
    files.py      one file; archives.py its content, when it is compressed
    position.py   the saved position; slice.py the lines returned

pygtail's own reading is not used: it stops at a byte that is not text, calls tell() for every line, can lose its own
offset file, supports one rotation only, and opens files by names that may have been reassigned.

A line is text ended by a newline, or the rest at the end of a rotated file once nothing more is written to it. Blank
lines are no lines. A carriage return, NUL and bytes that are not UTF-8 are left in the line, but NUL bytes before a
line do not count towards its length. A line that is too long is counted and skipped in pieces. A half line at the end
of the live file is not returned before it is complete.
"""

from exporter.sources.jsonl.log import JsonlLog
from exporter.sources.jsonl.position import Position
from exporter.sources.jsonl.slice import Slice

__all__ = ["JsonlLog", "Position", "Slice"]
