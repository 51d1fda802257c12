"""The task group that joins the stages: workers read pages, sinks take rows, commits follow."""
