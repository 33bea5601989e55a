// A square of bytes as a picture: 0 is one class (orange), 255 the other (blue), between is pale.
import { useEffect, useRef } from "preact/hooks";
import { useTheme } from "./theme";

const ORANGE = [213, 94, 0];
const BLUE = [0, 114, 178];

function table(dark: boolean): Uint8ClampedArray {
  const middle = dark ? [34, 38, 44] : [248, 248, 248];
  const made = new Uint8ClampedArray(256 * 4);
  for (let v = 0; v < 256; v++) {
    const share = (v - 127.5) / 127.5;
    const end = share > 0 ? BLUE : ORANGE;
    const mix = Math.abs(share) ** 0.8 * 0.85;
    for (let c = 0; c < 3; c++) made[4 * v + c] = middle[c]! + (end[c]! - middle[c]!) * mix;
    made[4 * v + 3] = 255;
  }
  return made;
}

export function Heat({ bytes, side, size, label }: {
  bytes?: Uint8Array;
  side: number;
  size: number;
  label: string;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen || !bytes) return;
    const colours = table(document.documentElement.dataset.theme === "dark");
    const image = pen.createImageData(side, side);
    for (let i = 0; i < bytes.length; i++)
      image.data.set(colours.subarray(4 * bytes[i]!, 4 * bytes[i]! + 4), 4 * i);
    pen.putImageData(image, 0, 0);
  }, [bytes, side, theme]);
  return (
    <canvas
      ref={canvas}
      class="heat"
      width={side}
      height={side}
      style={{ width: `${size}px`, height: `${size}px` }}
      {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": true })}
    />
  );
}
