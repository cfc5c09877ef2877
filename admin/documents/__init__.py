"""The documents of the Analytics section: one module per subject, with its model, its values and its cards.

    exporter/snapshot.py -> values.py: every value with its status, its sources and its time
      -> summary, users, ai, queues, workers, monetization, charts, tables, status: the documents
      -> api.py: JSON and CSV    page/: the cards

A new card is an entry in the module of its subject: the field of the model, its value, the card. A new subject is a new
module and its entry in DOCUMENTS.
"""

from __future__ import annotations

from admin.documents import ai, growth, monetization, queues, users, workers
from admin.documents.cards import Document

DOCUMENTS: tuple[Document, ...] = (
    users.DOCUMENT,
    growth.DOCUMENT,
    ai.DOCUMENT,
    queues.DOCUMENT,
    workers.DOCUMENT,
    monetization.DOCUMENT,
)
"""The documents with a section of the page each, in its order; summary, charts and tables stand above them."""
