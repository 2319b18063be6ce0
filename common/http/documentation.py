"""The page of the API documentation, `/docs`, of a service that needs an API key.

Its file needs no key, but the OpenAPI document does, because that names models, features and examples.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

OPENAPI = "/openapi.json"
# The key is kept where the page at / keeps it (`common/page/parts.js`), so one is enough for both.
_SEND_KEY = """<script>
  const slot = `API key of ${location.pathname.replace(/docs\\/?$/, "")}`, send = window.fetch;
  window.fetch = async (url, options = {}) => {
    const key = sessionStorage.getItem(slot);
    const answer = await send(url, key ? { ...options, headers: { Authorization: `Bearer ${key}`, ...options.headers } } : options);
    const given = answer.status === 401 && prompt("This service needs an API key. It is kept in this tab until you close it.");
    if (!given) return answer;
    sessionStorage.setItem(slot, given.trim());
    return window.fetch(url, options);
  };
</script>
"""  # noqa: E501


def add_keyed_documentation(api: FastAPI, assets: str) -> None:
    """Adds the page, which sends the key of its tab, and asks for one when the service refuses it."""

    @api.get("/docs", include_in_schema=False)
    async def documentation(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{OPENAPI}",
            title=f"{api.title} - Swagger UI",
            swagger_js_url=f"{root}{assets}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{assets}/swagger-ui.css",
            swagger_favicon_url=f"{root}{assets}/favicon.png",
        )
        return HTMLResponse(bytes(page.body).decode().replace("<script", f"{_SEND_KEY}<script", 1))
