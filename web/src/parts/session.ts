import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Session } from "../messages";

export const SessionContext = createContext<Session>({ version: "", read_only: true, folder: "" });
export const useSession = () => useContext(SessionContext);
