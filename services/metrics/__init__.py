"""Collects what every service reports; serves Prometheus and the admin room."""
