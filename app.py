"""The service: `python app.py`, `flask run`, or `app:app` on another WSGI server."""

import sys

from garments.web import create_app, main

if __name__ == "__main__":
    sys.exit(main())
if __name__ == "app":  # another server wants the app; a spawned worker, "__mp_main__", does not
    app = create_app()
