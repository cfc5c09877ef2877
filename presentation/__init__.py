"""Titles, colours and panels in common to the dashboards (grafana/) and the Analytics page (admin/), which import this
package and not each other."""
