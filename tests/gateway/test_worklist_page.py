"""The worklist in a browser: the token, the studies, and trying one again."""

from pathlib import Path

import pytest

from ich_tf.errors import InputError
from tests.support.browser import Visit, chromium
from tests.support.gateway import SECRETS, Bench, client_of, fake_predict

TOKEN = "0123456789abcdef"


@pytest.mark.slow
def test_the_worklist_asks_for_a_token_shows_studies_and_tries_again(tmp_path: Path) -> None:
    errors = [InputError("<b>no</b>.")]

    def predict(images: Path, work: Path, results: Path):
        if len(list(images.iterdir())) == 1 and errors:
            raise errors.pop()
        return fake_predict(images, work, results)

    bench = Bench(tmp_path, predict)
    for study, images in (("1.2.1", 2), ("1.2.2", 3), ("1.2.3", 1)):
        for number in range(images):
            bench.send(number, study=study)
    bench.run()
    bench.send(0, study="1.2.9.4")
    with client_of(bench, TOKEN) as client, chromium() as browser:
        visit = Visit(browser, f"{client.base_url}/", (480, 900))
        visit.expected = ("401",)  # the browser logs it; then the page asks for the token
        page = visit.page
        page.goto(visit.address)
        page.fill("#token", TOKEN)
        page.click("#token-form button")
        page.wait_for_selector("#predicted tbody tr[data-study]")
        rows = page.locator("#predicted tbody tr").all_inner_texts()
        assert [row.split("\t")[0].strip() for row in rows] == ["Study 2", "Study 1"]
        assert "suspected" in rows[0] and "suspected" not in rows[1]
        assert "<b>no</b>." in page.inner_text("#failed")  # as text, not as markup
        assert "images come in" in page.inner_text("#coming")
        assert not any(secret in page.content() for secret in SECRETS)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 480
        button = page.get_by_role("button", name="Try study 3 again")
        button.focus()
        bench.send(1, study="1.2.9.4")
        page.wait_for_selector("#coming td:text-is('2')")  # shown while a button has the focus
        assert button.evaluate("node => node === document.activeElement")
        button.click()
        page.wait_for_selector("#failed-section", state="hidden")
        assert bench.states() == ["done", "done", "waiting", "receiving"]
        visit.close()
    bench.gateway.close()
