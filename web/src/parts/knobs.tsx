// A knob of the recipe as a field of a form, made from its type and its docstring.
import type { Knob } from "../messages";
import { shown } from "./words";

// The text of a field as the value that the recipe wants.
export function typed(knob: Knob, text: string): unknown {
  const plain = text.trim();
  if (knob.kind === "list") return plain.split(",").map((part) => part.trim()).filter(Boolean);
  if (plain === "true" || plain === "false") return plain === "true";
  const isNumber = plain !== "" && Number.isFinite(Number(plain));
  if ((knob.kind === "number" || knob.kind === "whole") && isNumber) return Number(plain);
  return plain;
}

interface Props {
  knob: Knob;
  value: string;
  set: (value: string) => void;
  label?: string;
}

export function KnobField({ knob, value, set, label }: Props) {
  const id = `knob-${knob.name}`;
  const usual = shown(knob.default);
  const change = (event: { currentTarget: { value: string } }) => set(event.currentTarget.value);
  const closed = knob.kind === "choice" || knob.kind === "yes_no";
  const choices = knob.kind === "yes_no" ? [...(knob.auto ? ["auto"] : []), "true", "false"] : knob.choices;
  return (
    <label class="field" for={id}>
      <span class="label">{label ?? knob.name}</span>
      {closed ? (
        <select id={id} value={value} onChange={change}>
          <option value="">{usual} (default)</option>
          {choices.filter((choice) => choice !== usual).map((choice) => (
            <option value={choice}>{choice}</option>
          ))}
        </select>
      ) : (
        <>
          <input
            id={id}
            value={value}
            placeholder={usual}
            inputMode={knob.kind === "number" ? "decimal" : knob.kind === "whole" ? "numeric" : "text"}
            list={choices.length ? `${id}-known` : undefined}
            onInput={change}
          />
          {choices.length > 0 && (
            <datalist id={`${id}-known`}>
              {choices.map((choice) => (
                <option value={choice} />
              ))}
            </datalist>
          )}
        </>
      )}
    </label>
  );
}
