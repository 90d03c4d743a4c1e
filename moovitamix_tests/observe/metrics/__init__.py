"""Tests of figures: what is measured, kept, told to Prometheus, drawn and alerted on."""
