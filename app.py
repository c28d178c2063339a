"""The service: `python app.py`, `flask run`, or `app:app` on another WSGI server."""

import sys

from garments.web import create_app, main

if __name__ == "__main__":
    sys.exit(main())
if __name__ == "app":  # imported by another server, which wants the app and not a server
    app = create_app()
