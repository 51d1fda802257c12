"""Runs several exports at once, each as a process of its own, and gives all of them their turns at the API."""
