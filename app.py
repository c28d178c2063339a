"""The service: `.venv/bin/python app.py`, `flask run`, or `app:app` on another WSGI server."""

import signal
import sys

if __name__ == "__main__":
    # To import all that serves takes half a second. Whoever asks for new models before the service
    # can hear of it must not end it; it reads them anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from garments.web import main

    sys.exit(main())
if __name__ == "app":  # another server wants the app; a spawned worker, "__mp_main__", does not
    from garments.web import create_app

    app = create_app()
