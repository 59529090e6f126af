"""The operator of notebooks: makes what a Notebook, a Profile or a NotebookRequest asks for, and stops what is idle."""
