// One run: its curves as they grow, what the doctor says, and branches with another knob.
import { useEffect, useRef, useState } from "preact/hooks";
import type { CheckpointRow, Curves, FindingRow, Knob, RunDetail } from "../messages";
import { go } from "../parts/address";
import { tell } from "../parts/api";
import { Chart } from "../parts/chart";
import { Failure } from "../parts/failure";
import { useAsk } from "../parts/hooks";
import { KnobField, typed } from "../parts/knobs";
import { useCurves, useRuns } from "../parts/live";
import { Progress, RunHead } from "../parts/pieces";
import { useSession } from "../parts/session";
import { number, score, shown, time, whole } from "../parts/words";

export default function RunPage({ id }: { id: string }) {
  const detail = useAsk<RunDetail>(`runs/${id}`);
  const { runs } = useRuns();
  const [curves] = useCurves([id]);
  const { read_only } = useSession();
  const found = detail.value;
  const row = runs.find((one) => one.id === id) ?? found?.row;
  const seen = useRef("");
  useEffect(() => {
    const now = `${row?.epoch} ${row?.state} ${row?.finding}`;
    if (row && seen.current) detail.again(); // findings and checkpoints come with epochs
    if (row) seen.current = now;
  }, [row?.epoch, row?.state, row?.finding]);
  if (!row) return <Failure error={detail.error} />;
  const branches = runs.filter((one) => one.parent === id);
  return (
    <>
      <RunHead row={row} page="run">
        <Progress row={row} />
        <span>
          {row.score_name.replaceAll("_", " ")} {score(row.score, row.low, row.high)} on {row.split}
        </span>
        {row.state === "running" && <span>{time(row.seconds_left)} left</span>}
        {row.images_per_second && <span>{whole(Math.round(row.images_per_second))} images/s</span>}
      </RunHead>
      {row.fault && (
        <p class="failure" role="alert">
          {row.fault}
          {row.state === "damaged" && ". Copy the run once more, or train again."}
        </p>
      )}
      {!read_only && <Steering id={id} state={row.state} fault={row.fault} />}
      {curves && <RunCharts curves={curves} score={row.score_name} />}
      {found && found.findings.length > 0 && (
        <section>
          <h2>What the doctor says</h2>
          <div class="cards">
            {found.findings.map((finding) => (
              <Finding id={id} finding={finding} read_only={read_only} key={finding.rule} />
            ))}
          </div>
        </section>
      )}
      {found && !found.findings.length && row.state === "finished" && (
        <p class="card good">The doctor finds nothing wrong with this training.</p>
      )}
      {branches.length > 0 && (
        <p>
          Branches of this run:{" "}
          {branches.map((one, i) => (
            <>
              {i > 0 && ", "}
              <a href={`/run/${one.id}`}>{one.name}</a>
            </>
          ))}
        </p>
      )}
      {found && !read_only && found.checkpoints.length > 0 && (
        <Branch id={id} checkpoints={found.checkpoints} />
      )}
      {found && <Facts found={found} />}
    </>
  );
}

function Steering({ id, state, fault }: { id: string; state: string; fault: string }) {
  const [error, setError] = useState<unknown>();
  const [asked, setAsked] = useState("");
  useEffect(() => {
    setAsked("");
  }, [state, fault]);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => setAsked(""), 20_000); // it did not work: one may press again
    return () => clearTimeout(timer);
  }, [asked]);
  const press = (verb: string) => {
    setError(undefined);
    setAsked(verb);
    tell(`runs/${id}/${verb}`, {}).catch((problem) => {
      setAsked("");
      setError(problem);
    });
  };
  const busy = state === "running" || state === "preparing";
  if (!busy && !["can be resumed", "failed", "not begun"].includes(state)) return null;
  return (
    <div class="row">
      {busy ? (
        <>
          <button onClick={() => press("pause")} disabled={asked !== ""}>
            Pause
          </button>
          <button onClick={() => press("stop")} disabled={asked === "stop"}>
            Stop at once
          </button>
          <span class="hint" role="status">
            {asked === "pause"
              ? "It ends its step and saves …"
              : "Pause ends the step and saves. Stop at once goes back to the last checkpoint."}
          </span>
        </>
      ) : (
        <button onClick={() => press("resume")} disabled={asked !== ""}>
          Resume
        </button>
      )}
      <Failure error={error} />
    </div>
  );
}

function RunCharts({ curves, score }: { curves: Curves; score: string }) {
  const dead = Object.entries(curves.dead).map(([name, y]) => ({ name, x: curves.measured, y, points: true }));
  return (
    <section class="charts" aria-label="Curves">
      <Chart
        title="Loss"
        lines={[
          { name: "each step", x: curves.step, y: curves.loss, faint: true },
          { name: "training", x: curves.epoch_step, y: curves.train_loss, points: true },
          { name: "validation", x: curves.epoch_step, y: curves.val_loss, points: true },
        ]}
      />
      <Chart
        title={`Validation ${score.replaceAll("_", " ")}`}
        lines={[{ name: "validation", x: curves.epoch_step, y: curves.val_score, points: true }]}
      />
      <Chart title="Learning rate" lines={[{ name: "rate", x: curves.step, y: curves.lr }]} />
      <Chart
        title="Norm of the gradient"
        log
        lines={[{ name: "norm", x: curves.step, y: curves.gradient, faint: true }]}
      />
      {dead.length > 0 && <Chart title="Share of dead or saturated units" lines={dead.slice(0, 8)} />}
    </section>
  );
}

interface Begun {
  id: string;
  there: boolean;
}

// A branch from a checkpoint is a run at once; one that begins anew reads its data first.
const show = (made: Begun) => go(made.there ? `/run/${made.id}` : "/");

function Finding({ id, finding, read_only }: { id: string; finding: FindingRow; read_only: boolean }) {
  const [error, setError] = useState<unknown>();
  const begin = (remedy: string) =>
    tell<Begun>(`runs/${id}/branch`, { remedy }).then(show, setError);
  const lines = Object.entries(finding.curves).map(([name, y]) => ({
    name: name.replaceAll("_", " "),
    x: y.map((_, i) => i + 1),
    y,
  }));
  return (
    <article class={`card ${finding.verdict}`}>
      <h3>
        {finding.rule}{" "}
        <small>
          {finding.verdict}
          {finding.confidence !== null && `, confidence ${Math.round(100 * finding.confidence)} %`}
        </small>
      </h3>
      <p>{finding.text}</p>
      {lines.length > 0 && <Chart title="The evidence" lines={lines} height={130} x="moment" />}
      <ul class="remedies">
        {finding.remedies.map((remedy) =>
          remedy.startsWith("--") ? (
            <li>
              {!read_only && (
                <button onClick={() => begin(remedy)} title="Train a branch with this change; from the first step where nothing is left to train">
                  Try it
                </button>
              )}{" "}
              <code>{remedy}</code>
            </li>
          ) : (
            <li>{remedy}</li>
          ),
        )}
      </ul>
      <Failure error={error} />
    </article>
  );
}

function Branch({ id, checkpoints }: { id: string; checkpoints: CheckpointRow[] }) {
  const knobs = useAsk<Knob[]>("knobs");
  const [name, setName] = useState("optim.lr");
  const [value, setValue] = useState("");
  const [epochs, setEpochs] = useState("");
  const [step, setStep] = useState(() => checkpoints.at(-1)!.step);
  const [error, setError] = useState<unknown>();
  const knob = knobs.value?.find((one) => one.name === name);
  const last = checkpoints.at(-1)!.step;
  useEffect(() => {
    if (!checkpoints.some((one) => one.step === step)) setStep(last); // it was pruned
  }, [last]);
  const begin = (event: Event) => {
    event.preventDefault();
    setError(undefined);
    const given: Record<string, unknown> = knob && value !== "" ? { [name]: typed(knob, value) } : {};
    if (epochs) given["budget.epochs"] = Number(epochs);
    tell<Begun>(`runs/${id}/branch`, { step, knobs: given }).then(show, setError);
  };
  return (
    <section>
      <h2>Branch: train on with another knob</h2>
      <form class="row wrap" onSubmit={begin}>
        <label class="field">
          <span class="label">from the checkpoint</span>
          <select value={step} onChange={(event) => setStep(Number(event.currentTarget.value))}>
            {checkpoints.map((one) => (
              <option value={one.step}>
                step {one.step}, epoch {one.epoch}
                {one.score !== null && `, score ${one.score.toFixed(4)}`}
              </option>
            ))}
          </select>
        </label>
        <label class="field">
          <span class="label">knob</span>
          <select value={name} onChange={(event) => setName(event.currentTarget.value)}>
            {knobs.value?.map((one) => <option value={one.name}>{one.name}</option>)}
          </select>
        </label>
        {knob && <KnobField knob={knob} value={value} set={setValue} label="new value" />}
        <label class="field">
          <span class="label">epochs in all (empty: as planned)</span>
          <input type="number" min="1" value={epochs} onInput={(event) => setEpochs(event.currentTarget.value)} />
        </label>
        <button type="submit">Start the branch</button>
      </form>
      {knob && <p class="hint">{knob.doc}</p>}
      <Failure error={error} />
    </section>
  );
}

function Facts({ found }: { found: RunDetail }) {
  return (
    <section class="facts-list">
      {found.scores.length > 0 && (
        <details open>
          <summary>Scores on {found.row.split}</summary>
          <table>
            <tbody>
              {found.scores.map((one) => (
                <tr>
                  <th scope="row">{one.name.replaceAll("_", " ")}</th>
                  <td class="figure">{number(one.value)}</td>
                  <td class="figure">
                    {one.low !== null && `${number(one.low)} to ${number(one.high)}`}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
      <details>
        <summary>Knobs that were chosen or decided</summary>
        <table>
          <tbody>
            {found.knobs.map((knob) => (
              <tr>
                <th scope="row">
                  <code>{knob.name}</code>
                </th>
                <td>{shown(knob.value)}</td>
                <td class="hint">{knob.why}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
      <details>
        <summary>What was said ({found.notes.length})</summary>
        <ul>
          {found.notes.map((note) => (
            <li>{note}</li>
          ))}
        </ul>
      </details>
      <p class="hint">
        {Object.entries(found.images)
          .map(([split, count]) => `${whole(count)} ${split} images`)
          .join(", ")}
        ; {whole(found.parameters)} parameters; {found.classes.length} classes
      </p>
    </section>
  );
}
