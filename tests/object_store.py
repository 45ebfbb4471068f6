"""An S3 store of this machine (moto), which can be told to fail."""

import os
import threading
from contextlib import contextmanager
from urllib.request import Request, urlopen

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Faults:
    """How the store fails: every request that `choose` accepts is refused."""

    def __init__(self):
        self.choose = lambda method, path: False
        self.refused = []
        self.seen = []
        self.status = "403 Forbidden"
        self._lock = threading.Lock()

    def middleware(self, app):
        def answer(environ, start):
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            with self._lock:
                self.seen.append((method, path, environ.get("QUERY_STRING", "")))
                bad = self.choose(method, path)
                if bad:
                    self.refused.append(path)
            if not bad:
                return app(environ, start)
            # Half of the body is taken, then it breaks off.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            body = b"<Error><Code>AccessDenied</Code><Message>thrown by the test</Message></Error>"
            start(self.status, [("Content-Type", "application/xml"), ("Connection", "close")])
            return [body]

        return answer


@contextmanager
def object_store(bucket="photos"):
    """Serve S3 while a block runs; yields (environment variables, Faults)."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults()
    app = faults.middleware(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        import fsspec

        # Its objects belong to the process, not to the server.
        urlopen(Request(f"{variables['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")).close()
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
        yield variables, faults
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        server.shutdown()
        thread.join()
        server.server_close()
        import s3fs

        for system in s3fs.S3FileSystem._cache.values():
            if system.asynchronous and system._s3 is not None:
                from zarr.core.sync import sync

                sync(system._s3.close())  # zarr leaves it open
        s3fs.S3FileSystem.clear_instance_cache()
