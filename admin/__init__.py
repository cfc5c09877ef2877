"""The Analytics section of HiveSync's Admin Panel: API, page, and Grafana behind one middleware.

    exporter/snapshot.py -> documents/: one module per subject, with its model, its values and its cards
      -> api.py: JSON and CSV, rendered once per change    page/: HTML, styles and modules
      -> app.py: behind access/, beside grafana/ (the proxy) -> site.py (the admin port), mounting.py (another FastAPI)

All content comes from the view of the snapshot: no request causes a query.
"""
