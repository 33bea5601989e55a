// What went wrong, in a sentence with a hint.
import { Refusal } from "./api";

export function Failure({ error }: { error: unknown }) {
  if (!error) return null;
  const offline = error instanceof TypeError;
  const text = offline
    ? "The studio does not answer. Is it still running in its terminal?"
    : error instanceof Error
      ? error.message
      : String(error);
  const hint = error instanceof Refusal ? error.hint : "";
  return (
    <div class="failure" role="alert">
      <p>{text}</p>
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}
