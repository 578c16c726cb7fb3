"""The console: three pages in a browser, and the same data as JSON.

It parses requests and shows what the services return. Start reading at `app.py`.
"""
