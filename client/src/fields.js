/**
 * Says at once what the server would refuse later. What a signer shows is hashed into
 * the token before the server sees it, so a refusal after that costs the token. The
 * rules are the server's own, given by the page: `data-refuse` of a field is a JSON
 * list of [pattern, message].
 *
 * A browser cannot point at a field that is folded away, and then refuses without a
 * word: the fold is opened first.
 */
import { each } from "./show.js";

each("[data-refuse]", (element) => {
  const field = /** @type {HTMLInputElement} */ (element);
  /** @type {[string, string][]} */
  const rules = JSON.parse(field.dataset.refuse);
  const check = () => {
    // Full-width digits and letters count as what they look like.
    const text = field.value.normalize("NFKC");
    const broken = rules.find(([pattern]) => new RegExp(pattern, "iu").test(text));
    field.setCustomValidity(broken ? broken[1] : "");
  };
  field.addEventListener("input", check);
  check();
});

addEventListener(
  "invalid",
  ({ target }) => {
    const fold = /** @type {HTMLElement} */ (target).closest("details");
    if (fold) fold.open = true;
  },
  true, // it does not bubble
);
