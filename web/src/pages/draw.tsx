// Draw a digit or drop a picture: the answer, and what the network looked at, as one draws.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Asked, RunDetail } from "../messages";
import { tell } from "../parts/api";
import { Failure } from "../parts/failure";
import { useAsk } from "../parts/hooks";
import { useRuns } from "../parts/live";
import { Bars, RunHead, Slider } from "../parts/pieces";

const SIDE = 280;

export default function DrawPage({ id }: { id: string }) {
  const { runs } = useRuns();
  const detail = useAsk<RunDetail>(`runs/${id}`);
  const row = runs.find((one) => one.id === id) ?? detail.value?.row;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [light, setLight] = useState(true); // a light pen on black, as digits are stored
  const [wide, setWide] = useState(26);
  const [answer, setAnswer] = useState<Asked>();
  const [error, setError] = useState<unknown>();
  const busy = useRef(false);
  const again = useRef(false);
  const pen = () => canvas.current!.getContext("2d")!;
  const clear = () => {
    pen().fillStyle = light ? "#000" : "#fff";
    pen().fillRect(0, 0, SIDE, SIDE);
    setAnswer(undefined);
  };
  useEffect(clear, [light]);
  const send = async (picture: Blob) => {
    setError(undefined);
    try {
      setAnswer(await tell<Asked>(`ask/${id}`, picture));
    } catch (problem) {
      setError(problem);
    }
  };
  // While one answer is on its way the next waits: the last drawing is the one that is asked.
  const asked = () => {
    if (busy.current) {
      again.current = true;
      return;
    }
    busy.current = true;
    canvas.current!.toBlob(async (picture) => {
      if (picture) await send(picture);
      busy.current = false;
      if (again.current) {
        again.current = false;
        asked();
      }
    });
  };
  const at = (event: PointerEvent) => {
    const place = canvas.current!.getBoundingClientRect();
    const scale = SIDE / place.width;
    return [(event.clientX - place.left) * scale, (event.clientY - place.top) * scale] as const;
  };
  const last = useRef<readonly [number, number]>();
  const stroke = (event: PointerEvent) => {
    if (!last.current) return;
    const next = at(event);
    const p = pen();
    p.strokeStyle = light ? "#fff" : "#000";
    p.lineWidth = wide;
    p.lineCap = p.lineJoin = "round";
    p.beginPath();
    p.moveTo(...last.current);
    p.lineTo(...next);
    p.stroke();
    last.current = next;
    asked();
  };
  const file = (found?: File | null) => {
    if (found) void send(found);
  };
  return (
    <>
      {row && <RunHead row={row} page="draw" />}
      <div
        class="looks"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          file(event.dataTransfer?.files[0]);
        }}
      >
        <section>
          <canvas
            ref={canvas}
            class="paper"
            width={SIDE}
            height={SIDE}
            role="img"
            aria-label="Paper to draw on with a mouse, a pen or a finger"
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              last.current = at(event);
              stroke(event);
            }}
            onPointerMove={stroke}
            onPointerUp={() => (last.current = undefined)}
          />
          <div class="row wrap">
            <button onClick={clear}>Clear</button>
            <button onClick={() => setLight(!light)}>{light ? "Dark on white" : "Light on black"}</button>
          </div>
          <Slider label="pen" value={wide} low={6} high={60} step={1} set={setWide} />
          <label class="field">
            <span class="label">or drop a picture anywhere here, or choose one</span>
            <input type="file" accept="image/*" onChange={(event) => file(event.currentTarget.files?.[0])} />
          </label>
        </section>
        <section aria-live="polite">
          <Failure error={error} />
          {!answer && !error && <p class="hint">The answer appears as you draw.</p>}
          {answer && (
            <>
              {answer.guesses.length ? <Bars guesses={answer.guesses} /> : <p>Nothing was found.</p>}
              <div class="looks">
                <figure>
                  <img src={answer.picture} alt="the picture as the network gets it" class="pixels" />
                  <figcaption>As the network gets it</figcaption>
                </figure>
                {answer.saliency && (
                  <figure>
                    <img src={answer.saliency} alt="what the answer hangs on" class="pixels" />
                    <figcaption>What the answer hangs on</figcaption>
                  </figure>
                )}
              </div>
            </>
          )}
        </section>
      </div>
    </>
  );
}
