"""The registry of documents: every module with a document is in it, and keeps to its own subject."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest

from admin import documents
from admin.documents import DOCUMENTS
from admin.documents.cards import Document


def test_every_module_with_a_document_is_registered() -> None:
    modules = [import_module(f"admin.documents.{module.name}") for module in iter_modules(documents.__path__)]
    assert len(modules) > 10
    found = {module.DOCUMENT.path for module in modules if hasattr(module, "DOCUMENT")}
    assert found == {document.path for document in DOCUMENTS}
    assert len(DOCUMENTS) == len(found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_the_cards_of_a_document_show_its_own_values(document: Document) -> None:
    paths = [number.path for card in document.cards for number in card.numbers]
    paths += [table.path for table in document.tables]
    assert paths
    assert [path for path in paths if not path.startswith(f"{document.path}/")] == []
