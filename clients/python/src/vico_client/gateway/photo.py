"""The form of `/v1/images/edits`: one photo, and text fields."""

from __future__ import annotations

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from vico_client.gateway.fields import ImageFields, from_form
from vico_client.gateway.limits import Limits
from vico_client.gateway.validation import invalid, refusal_of_validation

_IMAGE = ("image", "image[]")
_FIELDS = 64
FORM_SCHEMA = {
    **ImageFields.model_json_schema(ref_template="#/components/schemas/{model}"),
    "title": "EditForm",
}


async def read_form(request: Request, limits: Limits) -> tuple[ImageFields, bytes]:
    """(what is asked for, the photo's file). Refusal names what is wrong."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise invalid(None, "the body is not a form; accepted: multipart/form-data", status=415)
    async with request.form(max_files=2, max_fields=_FIELDS) as form:
        photo = await _photo(form)
        texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    try:
        asked = from_form([item for item in texts if item[0] not in _IMAGE])
    except ValidationError as error:
        raise refusal_of_validation(error.errors(include_input=False, include_url=False)) from None
    except ValueError as error:
        raise invalid(None, str(error)) from None
    limits.check_photo(photo)
    return asked, photo


async def _photo(form: FormData) -> bytes:
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    for name, _ in files:
        if name not in _IMAGE:
            raise invalid(name, "a file; accepted: one file, as image")
    if len(files) != 1:
        raise invalid("image", f"{len(files)} files; accepted: one, PNG, JPEG or WebP")
    return await files[0][1].read()
