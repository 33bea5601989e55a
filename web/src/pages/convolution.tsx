// A kernel over an image, step by step, with the formula of the output's size (L4, L7).
import { useEffect, useRef, useState } from "preact/hooks";
import type { Convolved } from "../messages";
import { tell } from "../parts/api";
import { Failure } from "../parts/failure";
import { Choice, Slider } from "../parts/pieces";
import { number } from "../parts/words";

const KERNELS: Record<string, number[][]> = {
  "vertical edges (Sobel)": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  "horizontal edges (Sobel)": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
  "mean (blur)": [[1, 1, 1], [1, 1, 1], [1, 1, 1]].map((row) => row.map((v) => v / 9)),
  sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
  identity: [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
};
const SIDE = 20;

// A drawn picture: a bright letter on dark ground.
function letter(text: string): number[][] {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#222";
  pen.fillRect(0, 0, SIDE, SIDE);
  pen.fillStyle = "#fff";
  pen.font = `bold ${SIDE - 2}px sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, SIDE / 2, SIDE / 2 + 1);
  return grey(pen);
}

function grey(pen: CanvasRenderingContext2D): number[][] {
  const { data } = pen.getImageData(0, 0, SIDE, SIDE);
  return Array.from({ length: SIDE }, (_, y) =>
    Array.from({ length: SIDE }, (_, x) => {
      const at = 4 * (y * SIDE + x);
      return Number(((0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!) / 255).toFixed(2));
    }),
  );
}

export default function ConvolutionPage() {
  const [image, setImage] = useState(() => letter("R"));
  const [kernel, setKernel] = useState(KERNELS["vertical edges (Sobel)"]!);
  const [stride, setStride] = useState(1);
  const [padding, setPadding] = useState(0);
  const [dilation, setDilation] = useState(1);
  const [found, setFound] = useState<Convolved>();
  const [error, setError] = useState<unknown>();
  const [at, setAt] = useState(0);
  const [running, setRunning] = useState(false);
  useEffect(() => {
    let current = true;
    tell<Convolved>("labs/convolution", { image, kernel, stride, padding, dilation }).then(
      (value) => {
        if (!current) return;
        setFound(value);
        setError(undefined);
        setAt((was) => Math.min(was, value.output.length ** 2 - 1));
      },
      (problem) => current && setError(problem),
    );
    return () => {
      current = false;
    };
  }, [image, kernel, stride, padding, dilation]);
  const count = found ? found.output.length ** 2 : 1;
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setAt((was) => (was + 1) % count), 120);
    return () => clearInterval(timer);
  }, [running, count]);
  const load = async (file?: File | null) => {
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file, { resizeWidth: SIDE, resizeHeight: SIDE });
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = SIDE;
      const pen = canvas.getContext("2d")!;
      pen.drawImage(bitmap, 0, 0);
      setImage(grey(pen));
    } catch {
      setError("this is no picture that the browser can read");
    }
  };
  const resize = (side: number) =>
    setKernel(Array.from({ length: side }, (_, i) => Array.from({ length: side }, (_, j) => kernel[i]?.[j] ?? 0)));
  const name = Object.entries(KERNELS).find(([, k]) => JSON.stringify(k) === JSON.stringify(kernel))?.[0] ?? "";
  return (
    <>
      <h1>Convolution</h1>
      <p class="hint">
        The kernel lies on the image; what lies under it is multiplied and added up: one number of the output.
      </p>
      <div class="row wrap">
        <Choice label="kernel" value={name} options={{ ...(name ? {} : { "": "your own" }), ...Object.fromEntries(Object.keys(KERNELS).map((k) => [k, k])) }}
          set={(k) => KERNELS[k] && setKernel(KERNELS[k]!)} />
        <label class="field">
          <span class="label">an image of yours</span>
          <input type="file" accept="image/*" onChange={(event) => load(event.currentTarget.files?.[0])} />
        </label>
      </div>
      <div class="form">
        <Slider label="kernel size" value={kernel.length} low={1} high={7} step={1} set={resize} />
        <Slider label="stride" value={stride} low={1} high={4} step={1} set={setStride} />
        <Slider label="padding" value={padding} low={0} high={4} step={1} set={setPadding} />
        <Slider label="dilation" value={dilation} low={1} high={3} step={1} set={setDilation} />
      </div>
      <Failure error={error} />
      {found && (
        <>
          <p class="formula">
            output size = ⌊(N + 2·padding − dilation·(K − 1) − 1) / stride⌋ + 1 = <b>{found.formula}</b>
          </p>
          <div class="row">
            <button onClick={() => setAt((at + count - 1) % count)}>Back</button>
            <button onClick={() => setAt((at + 1) % count)}>Next place</button>
            <button aria-pressed={running} onClick={() => setRunning(!running)}>
              {running ? "Pause" : "Run"}
            </button>
            <span role="status">
              place {at + 1} of {count}
            </span>
          </div>
          <Worked found={found} at={at} setAt={setAt} setKernel={setKernel} />
        </>
      )}
    </>
  );
}

function Worked({ found, at, setAt, setKernel }: {
  found: Convolved;
  at: number;
  setAt: (at: number) => void;
  setKernel: (kernel: number[][]) => void;
}) {
  const side = found.output.length;
  const [row, column] = [Math.floor(at / side), at % side];
  const [top, left] = [row * found.stride, column * found.stride];
  const under = new Set(
    found.kernel.flatMap((line, i) =>
      line.map((_, j) => `${top + i * found.dilation},${left + j * found.dilation}`),
    ),
  );
  const values = found.kernel.map((line, i) =>
    line.map((_, j) => found.padded[top + i * found.dilation]?.[left + j * found.dilation] ?? 0),
  );
  return (
    <>
      <div class="looks">
        <figure>
          <figcaption>
            image{found.padding > 0 && ` with ${found.padding} of padding`}, {found.padded.length}×{found.padded.length}
          </figcaption>
          <Square values={found.padded} marked={under} border={found.padding} />
        </figure>
        <figure>
          <figcaption>kernel (edit it)</figcaption>
          <table class="kernel">
            <tbody>
              {found.kernel.map((line, i) => (
                <tr>
                  {line.map((value, j) => (
                    <td>
                      <input
                        type="number"
                        step="0.1"
                        aria-label={`row ${i + 1}, column ${j + 1}`}
                        value={Number(value.toFixed(3))}
                        onChange={(event) =>
                          setKernel(found.kernel.map((r, a) => r.map((v, b) => (a === i && b === j ? Number(event.currentTarget.value) : v))))
                        }
                      />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </figure>
        <figure>
          <figcaption>
            output, {side}×{side}
          </figcaption>
          <Square values={found.output} marked={new Set([`${row},${column}`])} border={0} pick={(r, c) => setAt(r * side + c)} />
        </figure>
      </div>
      <p class="formula" aria-live="polite">
        {values.flatMap((line, i) => line.map((value, j) => `${number(value, 2)}·${number(found.kernel[i]![j]!, 2)}`)).slice(0, 12).join(" + ")}
        {found.kernel.length > 3 && " + …"} = <b>{number(found.output[row]?.[column], 3)}</b>
      </p>
    </>
  );
}

function Square({ values, marked, border, pick }: {
  values: number[][];
  marked: Set<string>;
  border: number;
  pick?: (row: number, column: number) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const side = values.length;
  const cell = Math.max(4, Math.floor(300 / side));
  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen) return;
    const flat = values.flat();
    const [low, high] = [Math.min(0, ...flat), Math.max(1e-9, ...flat)];
    pen.clearRect(0, 0, side * cell, side * cell);
    values.forEach((line, i) =>
      line.forEach((value, j) => {
        const light = Math.round((255 * (value - low)) / (high - low));
        const outside = i < border || j < border || i >= side - border || j >= side - border;
        pen.fillStyle = outside ? "#7a6a50" : `rgb(${light} ${light} ${light})`;
        pen.fillRect(j * cell, i * cell, cell, cell);
      }),
    );
    pen.strokeStyle = "#e69f00";
    pen.lineWidth = 2;
    for (const place of marked) {
      const [i, j] = place.split(",").map(Number) as [number, number];
      pen.strokeRect(j * cell + 1, i * cell + 1, cell - 2, cell - 2);
    }
  }, [values, marked, border]);
  return (
    <canvas
      ref={canvas}
      width={side * cell}
      height={side * cell}
      role="img"
      aria-label={`${side} by ${side} numbers`}
      onClick={(event) => {
        if (!pick) return;
        const at = canvas.current!.getBoundingClientRect();
        const scale = (side * cell) / at.width;
        pick(Math.floor(((event.clientY - at.top) * scale) / cell), Math.floor(((event.clientX - at.left) * scale) / cell));
      }}
    />
  );
}
