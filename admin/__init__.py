"""The Analytics section of HiveSync's Admin Panel: API, page, and Grafana behind one door (contract §3).

    exporter/snapshot.py -> readings.py: every value with its status, its sources and the time it is of
      -> answers.py, charts.py, tables.py -> api.py: JSON and CSV, made once a refresh
      -> app.py: behind the door, beside the page and Grafana -> the admin port, or HiveSync's own FastAPI

    auth.py, door.py: who may come in    page.py, page/: the page    proxy.py: Grafana

Everything shown comes from the snapshot: no request causes a query.
"""
