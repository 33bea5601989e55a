// The playground: points in the plane, a small network drawn as a net, and both losses.
import { useEffect, useRef, useState } from "preact/hooks";
import { keep } from "../parts/address";
import { Chart } from "../parts/chart";
import { Failure } from "../parts/failure";
import { type Picture, type Settings, useGame } from "../parts/game";
import { Heat } from "../parts/heat";
import { useAsk } from "../parts/hooks";
import { Net } from "../parts/net";
import { Choice, Slider } from "../parts/pieces";
import { Plane } from "../parts/plane";
import { number, whole } from "../parts/words";

const FEATURES = ["x1", "x2", "x1²", "x2²", "x1x2", "sin x1", "sin x2"];
const DATA = ["circle", "xor", "gaussians", "spiral", "moons", "plane", "hills", "painted"];
const ACTIVATIONS = ["tanh", "relu", "sigmoid", "leaky_relu", "linear"];
const RULES = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "muon"];
const SCHEDULES = ["constant", "step", "exponential", "sqrt", "inverse", "cosine", "one_cycle"];
const SPEEDS: Record<string, string> = { "1": "1 update a picture", "10": "10", "50": "50", "500": "as fast as it can" };

// The state in the address: only what is not at its default, so that links stay short.
const DEFAULT: Settings = {
  data: "circle", points: [], count: 400, noise: 0, test_share: 0.5, features: ["x1", "x2"],
  layers: [4, 2], activation: "tanh", rule: "momentum", lr: 0.01, momentum: 0.9, schedule: "constant",
  batch_size: 10, l1: 0, l2: 0, dropout: 0, epochs: 500, seed: 0,
};

export function fromAddress(query: string): Settings {
  const given = new URLSearchParams(query);
  const made: Record<string, unknown> = { ...DEFAULT };
  for (const [name, usual] of Object.entries(DEFAULT)) {
    const text = given.get(name);
    if (text === null) continue;
    if (name === "points")
      made[name] = text.split(";").filter(Boolean).map((point) => point.split(",").map(Number));
    else if (name === "layers") made[name] = text.split(",").filter(Boolean).map(Number);
    else if (name === "features") made[name] = text.split(",");
    else made[name] = typeof usual === "number" ? Number(text) : text;
  }
  return made as unknown as Settings;
}

export function toAddress(settings: Settings): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(settings)) {
    const usual = DEFAULT[name as keyof Settings];
    if (JSON.stringify(value) === JSON.stringify(usual)) continue;
    given.set(name, name === "points" ? settings.points.map((p) => p.join()).join(";") : String(value));
  }
  const text = given.toString();
  return text ? `?${text}` : "";
}

interface Preset {
  about: string;
  settings: Settings;
}

export default function PlaygroundPage() {
  const [settings, setSettings] = useState(() => fromAddress(location.search));
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState("10");
  const presets = useAsk<Record<string, Preset>>("labs/presets");
  const game = useGame(settings);
  const { picture } = game;

  const change = (part: Partial<Settings>) => {
    const next = { ...settings, ...part };
    setSettings(next);
    keep(toAddress(next));
    game.say({ settings: next });
    if (playing) game.say({ play: Number(speed) });
  };
  // A rate or a penalty takes effect while it trains, as a knob that is turned.
  const turn = (part: Partial<Settings>) => {
    const next = { ...settings, ...part };
    setSettings(next);
    keep(toAddress(next));
    game.say({ lively: part });
  };
  const play = (on: boolean, at = speed) => {
    setPlaying(on);
    game.say({ play: on ? Number(at) : 0 });
  };
  useEffect(() => {
    if (picture?.done && playing) play(false);
  }, [picture?.done]);
  const restart = () => change({});
  const toggle = (feature: string) => {
    const has = settings.features.includes(feature);
    const next = FEATURES.filter((f) => (f === feature ? !has : settings.features.includes(f)));
    if (next.length) change({ features: next });
  };
  return (
    <div class="playground">
      <h1 class="unseen">Playground</h1>
      <div class="bar row wrap" role="toolbar" aria-label="Training">
        <button class="main" onClick={() => play(!playing)} disabled={picture?.done} aria-pressed={playing}>
          {playing ? "Pause" : "Play"}
        </button>
        <button onClick={() => game.say({ step: 1 })} disabled={playing || picture?.done}>
          Step
        </button>
        <button onClick={() => { play(false); restart(); }}>Start again</button>
        <Choice label="speed" value={speed} options={SPEEDS} set={(s) => { setSpeed(s); if (playing) play(true, s); }} />
        <Choice
          label="examples"
          value=""
          options={{ "": "choose …", ...Object.fromEntries(Object.entries(presets.value ?? {}).map(([n, p]) => [n, `${n}: ${p.about}`])) }}
          set={(name) => {
            const preset = presets.value?.[name];
            if (!preset) return;
            play(false);
            setSettings(preset.settings);
            keep(toAddress(preset.settings));
            game.say({ settings: preset.settings });
          }}
        />
        <span class="count" role="status">
          epoch <b>{whole(picture?.epoch ?? 0)}</b>, update <b>{whole(picture?.step ?? 0)}</b>
        </span>
        {!game.connected && <span class="hint">connecting …</span>}
      </div>
      {picture?.problem && <Failure error={picture.problem} />}
      {picture?.findings.map((finding) => (
        <p class={`card ${finding.verdict}`} role="status" key={finding.rule}>
          <b>{finding.rule}:</b> {finding.text}
        </p>
      ))}
      <div class="columns">
        <section aria-label="Data" class="side">
          <h2>Data</h2>
          <Choice label="points" value={settings.data} options={DATA} set={(data) => change({ data })} />
          <Slider label="noise" value={settings.noise} low={0} high={0.5} step={0.05} set={(noise) => change({ noise })} />
          <Slider label="for the test" value={settings.test_share} low={0} high={0.9} step={0.1}
            shown={`${Math.round(100 * settings.test_share)} %`} set={(test_share) => change({ test_share })} />
          <Slider label="points in all" value={settings.count} low={20} high={1000} step={20} set={(count) => change({ count })} />
          <Slider label="batch size" value={settings.batch_size} low={1} high={100} step={1} set={(batch_size) => change({ batch_size })} />
          <h2>Features</h2>
          <div class="features">
            {FEATURES.map((feature) => {
              const at = picture?.settings.features.indexOf(feature) ?? -1;
              return (
                <button key={feature} class="feature" aria-pressed={settings.features.includes(feature)} onClick={() => toggle(feature)}>
                  {at >= 0 && picture && (
                    <Heat bytes={picture.maps[0]![at]} side={picture.small} size={28} label="" />
                  )}
                  {feature}
                </button>
              );
            })}
          </div>
        </section>
        <section aria-label="Network" class="middle">
          <div class="row wrap">
            <h2>{settings.layers.length} hidden layers</h2>
            <button aria-label="One layer more" disabled={settings.layers.length >= 6}
              onClick={() => change({ layers: [...settings.layers, 2] })}>
              +
            </button>
            <button aria-label="One layer fewer" disabled={!settings.layers.length}
              onClick={() => change({ layers: settings.layers.slice(0, -1) })}>
              −
            </button>
          </div>
          {picture && (
            <Net picture={picture} setLayers={(layers) => change({ layers })}
              setWeight={(layer, unit, source, value) => game.say({ weight: [layer, unit, source, value] })} />
          )}
          <div class="form">
            <Choice label="activation" value={settings.activation} options={ACTIVATIONS} set={(activation) => change({ activation })} />
            <Choice label="update rule" value={settings.rule} options={RULES} set={(rule) => change({ rule })} />
            <Choice label="schedule" value={settings.schedule} options={SCHEDULES} set={(schedule) => change({ schedule })} />
          </div>
          <div class="form">
            <Slider label="learning rate" log value={settings.lr} low={1e-5} high={100} set={(lr) => turn({ lr })} />
            <Slider label="momentum" value={settings.momentum} low={0} high={0.99} step={0.01} set={(momentum) => change({ momentum })} />
            <Slider label="dropout" value={settings.dropout} low={0} high={0.9} step={0.05} set={(dropout) => change({ dropout })} />
            <Slider label="L2" log value={settings.l2 || 1e-6} low={1e-6} high={10}
              shown={settings.l2 ? String(settings.l2) : "none"} set={(l2) => turn({ l2: l2 <= 1e-6 ? 0 : l2 })} />
            <Slider label="L1" log value={settings.l1 || 1e-6} low={1e-6} high={10}
              shown={settings.l1 ? String(settings.l1) : "none"} set={(l1) => turn({ l1: l1 <= 1e-6 ? 0 : l1 })} />
            <Slider label="seed" value={settings.seed} low={0} high={20} step={1} set={(seed) => change({ seed })} />
            <Slider label="epochs planned" log value={settings.epochs} low={10} high={10_000} set={(epochs) => change({ epochs: Math.round(epochs) })} />
          </div>
        </section>
        <section aria-label="Output" class="side">
          <h2>Output</h2>
          {picture && <Losses picture={picture} />}
          {picture && (
            <Plane picture={picture} points={game.points} settings={settings}
              paint={(points) => change({ data: "painted", points })} />
          )}
          <Chart title="Losses of all points" height={150} x="update"
            lines={[
              { name: "training", x: game.history.step, y: game.history.train },
              { name: "test", x: game.history.step, y: game.history.test },
            ]} />
        </section>
      </div>
    </div>
  );
}

function Losses({ picture }: { picture: Picture }) {
  const before = useRef("");
  before.current = `training ${number(picture.train, 3)}, test ${number(picture.test, 3)}`;
  return (
    <p class="losses">
      <span>
        training loss <b>{number(picture.train, 3)}</b>
      </span>
      <span>
        test loss <b>{number(picture.test, 3)}</b>
      </span>
    </p>
  );
}
