"""The API's errors, in its body forms and headers (PROTOCOL 2, Errors)."""
import json

from aiohttp import web


class ApiError(Exception):
    def __init__(self, status, message, code=None, headers=None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}

    def response(self):
        headers = {**self.headers}
        headers.setdefault("X-Error-Message", self.message)
        if self.code:
            headers["X-Error-Code"] = self.code
        return web.Response(status=self.status, text=json.dumps({"error": self.message}), content_type="application/json", headers=headers)


def invalid_credentials():
    return ApiError(401, "Invalid credentials in Authorization header")


def no_credentials():
    return ApiError(401, "Invalid username or password.")


def forbidden(namespace):
    return ApiError(403, f"You don't have the required permissions to perform this action in the namespace {namespace}.")


def no_job():
    return ApiError(404, "Job not found")
