"""Kubeflow components: each moves files and calls one function of `hft_lib.workflow`.

A body is two lines, for the compiled pipelines hold its source: what the work is, is tested in the
library. Annotations are read when a component is made, so they are never postponed here.
"""
